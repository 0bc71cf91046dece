"""Model packages: one zip file on the lake, named by its SHA-256. Packed, read and checked; nothing in it is run here.

A package holds ``package.json`` (classes, threshold, transform, what it was trained on) and one member that answers:

- ``model.onnx``, whose input is uint8[N, H, W, C] and whose first output is float32[N, classes]. Where there is one,
  ``features.npz`` says how pixels become vectors, and the graph takes those, float32[N, D]; that of a blend takes
  both. Nothing of that can execute code when loaded: graphs of standard operators only, with every weight inside the
  file, and plain arrays.
- ``pyfunc.zip``, an MLflow model with code of its own, which package.json names: see darkroom.pyfunc.

Where there is one, ``reference.npz`` is what drift is measured from.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.drift.reference import Reference
from darkroom.errors import ModelError
from darkroom.features import FittedFeatures
from darkroom.features.packed import pack_features, unpack_features
from darkroom.storage import Storage
from darkroom.transform import ImageTransform

FORMAT_VERSION = 1
MANIFEST, GRAPH, PYFUNC = "package.json", "model.onnx", "pyfunc.zip"
REFERENCE, FEATURES = "reference.npz", "features.npz"
MAX_PACKAGE_BYTES = 4 * 2**30
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # equal content gives an equal file


class PyfuncSource(BaseModel):
    """Where an MLflow model with code of its own came from, what it is, and which classes its outputs are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    digest: str = Field(pattern="^[0-9a-f]{64}$")  # darkroom.pyfunc.folder.folder_digest
    classes: tuple[str, ...]  # in the order of its outputs


class PackageInfo(BaseModel):
    """What a package says about itself (package.json)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    classes: tuple[str, ...] = Field(min_length=2)
    positive_class: str | None = None  # set where there are two classes
    threshold: float | None = Field(default=None, ge=0, le=1)  # on the calibrated probability
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)  # see darkroom.calibration
    transform: dict[str, Any]
    transform_hash: str
    dataset: str
    dataset_version: str
    split_id: str
    config: str
    config_digest: str
    code_digest: str
    seed: int
    input_shape: tuple[int, int, int]  # height, width, channels
    features: list[dict[str, Any]] | None = None  # options of each; None: the graph takes pixels
    features_hash: str | None = None
    pyfunc: PyfuncSource | None = None  # None: a graph answers
    metrics: dict[str, Any] = Field(default_factory=dict)  # on val
    notes: tuple[str, ...] = ()  # how temperature and threshold were chosen, a sentence each

    @model_validator(mode="after")
    def _consistent(self) -> PackageInfo:
        if list(self.classes) != sorted(set(self.classes)):
            raise ValueError(f"the classes {list(self.classes)} are not sorted and distinct")
        if len(self.classes) == 2 and (self.positive_class not in self.classes or self.threshold is None):
            raise ValueError("two classes need a positive_class among them and a threshold")
        if self.pyfunc is not None and tuple(sorted(self.pyfunc.classes)) != self.classes:
            raise ValueError(f"the pyfunc model answers with the classes {list(self.pyfunc.classes)}")
        return self

    @property
    def answers(self) -> str:
        """The member of the package that gives the probabilities."""
        return GRAPH if self.pyfunc is None else PYFUNC


@dataclass(frozen=True)
class Package:
    """A package as it was read: checked against its own digest and names, and nothing of it run."""

    package_id: str
    info: PackageInfo
    content: bytes  # of the member ``info.answers``
    reference: Reference | None  # what drift is measured from; None: the package was made without one
    features: FittedFeatures | None  # what makes the graph's vectors of pixels; None: it takes pixels

    @cached_property
    def transform(self) -> ImageTransform:
        """What makes its pixels. Raises ModelError where it is not valid, or makes others than the model takes."""
        info = self.info
        try:
            transform = ImageTransform.model_validate(info.transform)
        except ValidationError as error:
            raise ModelError(
                f"A model package names a transform that is not valid: {error.errors()[0]['msg']}."
            ) from error
        shape = (transform.height, transform.width, transform.channels)
        if shape != info.input_shape:
            raise ModelError(f"The model takes images of {info.input_shape}, but its transform makes {shape}.")
        return transform


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip file of these members in this order: equal content, equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, _ZIP_TIME)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    """What a zip file holds. Raises ModelError for one that cannot be read, is too large, or has a name twice."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(names) < len(members):
                raise ModelError(f"A model package holds {sorted(names)}, some of them twice. Expected each once.")
            if sum(member.file_size for member in members) > MAX_PACKAGE_BYTES:
                raise ModelError(f"A model package unpacks to more than {MAX_PACKAGE_BYTES:,} bytes and is refused.")
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        # Not a zip; compressed in a way that Python does not know; encrypted; cut short.
        raise ModelError(f"A model package is no readable zip file ({error}). Train it again.") from error


def pack(
    info: PackageInfo, content: bytes, reference: Reference | None = None, features: FittedFeatures | None = None
) -> bytes:
    """The package as one zip file: equal content, equal bytes. ``content``: of the member ``info.answers``."""
    described = info.model_dump(mode="json")
    manifest = json.dumps(described, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()
    members = {MANIFEST: manifest, info.answers: content} | ({REFERENCE: reference.to_bytes()} if reference else {})
    members |= {FEATURES: pack_features(features)} if features else {}
    return zipped(members)


def read_package(lake: Storage, source: str | bytes, *, package_id: str | None = None) -> Package:
    """Reads a package from its lake path or its bytes; nothing in it is run.

    A path must end in the SHA-256 of the content. Raises ModelError for a package that is missing, damaged,
    of an unknown format, or that holds anything but the members that it should.
    """
    if isinstance(source, str):
        package_id = package_id or source.rpartition("/")[2].removesuffix(".zip")
        try:
            data = lake.read(source, limit=MAX_PACKAGE_BYTES + 1)
        except FileNotFoundError as error:
            raise ModelError(f"There is no model package at {source}. Train and promote the model again.") from error
    else:
        data = source
    found = hashlib.sha256(data).hexdigest()
    if package_id is not None and found != package_id:
        raise ModelError(
            f"The model package {package_id[:12]} is damaged: its content has the SHA-256 {found[:12]}. "
            "Restore the file from a copy of the lake, or train again."
        )
    members = unzipped(data)
    if len({GRAPH, PYFUNC} & set(members)) != 1 or set(members) - {GRAPH, PYFUNC, REFERENCE, FEATURES} != {MANIFEST}:
        raise ModelError(
            f"A model package holds {sorted(members)}. Expected {MANIFEST} and {GRAPH} or {PYFUNC}, {REFERENCE} where "
            f"drift is measured, {FEATURES} where the graph takes features, and nothing else."
        )
    info = _info(members[MANIFEST])
    if info.answers not in members:
        raise ModelError(f"A model package holds {sorted(members)}, but its {MANIFEST} tells of {info.answers}.")
    reference = Reference.from_bytes(members[REFERENCE]) if REFERENCE in members else None
    features = _features(info, members.get(FEATURES))
    return Package(found, info, members[info.answers], reference, features)


def _info(manifest: bytes) -> PackageInfo:
    try:
        content: Mapping[str, Any] = json.loads(manifest)
        version = content["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The {MANIFEST} of a model package cannot be read ({error!r}). Train it again.") from error
    if version != FORMAT_VERSION:
        raise ModelError(
            f"A model package has the format version {version!r}. Expected {FORMAT_VERSION}. "
            "Install the Darkroom that wrote it, or train again."
        )
    try:
        return PackageInfo.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"The {MANIFEST} of a model package is not valid: {error.errors()[0]['msg']}.") from error


def _features(info: PackageInfo, data: bytes | None) -> FittedFeatures | None:
    if data is None:
        if info.features is not None:
            raise ModelError(f"A model package names features but holds no {FEATURES}. Train it again.")
        return None
    found = unpack_features(data)
    if found.features.model_dump(mode="json") != info.features:
        raise ModelError(f"The {FEATURES} of a model package holds other features than its {MANIFEST}. Train it again.")
    return found
