"""Model packages: one zip file on the lake, named by its SHA-256. Written, checked, loaded, and asked to predict.

A package holds ``package.json`` (classes, threshold, transform, what it was trained on) and ``model.onnx``, whose input
is uint8[N, H, W, C] and whose first output is float32[N, classes]. Where there is one, ``reference.npz`` is what drift
is measured from. Where there is one, ``features.npz`` says how pixels become vectors, and the graph takes those,
float32[N, D]. Nothing in it can execute code when loaded: ONNX graphs of standard operators only, with every weight
inside the file, and plain arrays. TensorFlow is not needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.calibration import calibrated
from darkroom.contract import model_package
from darkroom.drift.reference import Reference
from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.features import FittedFeatures
from darkroom.features.packed import pack_features, unpack_features
from darkroom.graph_check import check_graph
from darkroom.metrics import predict_labels
from darkroom.storage import Storage
from darkroom.transform import ImageTransform

FORMAT_VERSION = 1
MANIFEST, GRAPH, REFERENCE, FEATURES = "package.json", "model.onnx", "reference.npz", "features.npz"
MAX_PACKAGE_BYTES = 4 * 2**30
BATCH = 32
PIXELS, VECTORS = "tensor(uint8)", "tensor(float)"  # what a graph takes: images, what features make of them, or both
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # equal content gives an equal file


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
    metrics: dict[str, Any] = Field(default_factory=dict)  # on val
    notes: tuple[str, ...] = ()  # how temperature and threshold were chosen, a sentence each

    @model_validator(mode="after")
    def _consistent(self) -> PackageInfo:
        if list(self.classes) != sorted(set(self.classes)):
            raise ValueError(f"the classes {list(self.classes)} are not sorted and distinct")
        if len(self.classes) == 2 and (self.positive_class not in self.classes or self.threshold is None):
            raise ValueError("two classes need a positive_class among them and a threshold")
        return self


def pack(
    info: PackageInfo, graph: bytes, reference: Reference | None = None, features: FittedFeatures | None = None
) -> bytes:
    """The package as one zip file: equal content, equal bytes."""
    content = info.model_dump(mode="json")
    manifest = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()
    members = {MANIFEST: manifest, GRAPH: graph} | ({REFERENCE: reference.to_bytes()} if reference else {})
    members |= {FEATURES: pack_features(features)} if features else {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, _ZIP_TIME)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def write_package(
    lake: Storage,
    model: str,
    info: PackageInfo,
    graph: bytes,
    reference: Reference | None = None,
    features: FittedFeatures | None = None,
) -> tuple[str, str]:
    """Checks that the package loads, then puts it on the lake. Returns its path and its id (SHA-256)."""
    data = pack(info, graph, reference, features)
    load_package(lake, data)
    package_id = hashlib.sha256(data).hexdigest()
    path = model_package(model, package_id)
    lake.create(path, data)  # False: this very package is there already
    return path, package_id


class Model:
    """A loaded package. Not shared between threads or processes: each worker loads its own."""

    def __init__(
        self,
        info: PackageInfo,
        graph: bytes,
        package_id: str,
        threads: int,
        reference: Reference | None = None,
        features: FittedFeatures | None = None,
    ) -> None:
        import onnxruntime

        self.info = info
        self.features = features  # what makes the graph's vectors of pixels; None: it takes pixels
        self.reference = reference  # what drift is measured from; None: the package was made without one
        self.package_id = package_id
        self.classes = info.classes
        self.transform = _transform(info)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many private types
            raise ModelError(
                f"ONNX Runtime cannot load the model of {info.config}: {error}. Train it again."
            ) from error
        self._check_shapes()

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, classes], rows summing to one, from uint8[N, H, W, C] made by ``transform``; calibrated.

        Raises ModelError for another shape or dtype.
        """
        return calibrated(self._run(pixels, [0])[0], self.info.temperature)

    @property
    def can_embed(self) -> bool:
        return len(self._session.get_outputs()) > 1

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, D]: the features that the last layer sees. Raises ModelError where the model has none."""
        if not self.can_embed:
            raise ModelError(f"The model of {self.info.config} gives no embeddings. Use one trained by Keras.")
        return self._run(pixels, [1])[0]

    @property
    def can_map(self) -> bool:
        return len(self._session.get_outputs()) > 2

    def maps(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, h, w, classes]: the part of each place in each class's score. ModelError where there is none."""
        if not self.can_map:
            raise ModelError(f"The model of {self.info.config} gives no activation maps. Use one trained by Keras.")
        return self._run(pixels, [2])[0]

    def predict_with_features(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """``predict`` and, in the same pass, float32[N, K] features for drift; None without a reference."""
        if self.reference is None:
            return self.predict(pixels), None
        if self.reference.kind == "pixels":
            return self.predict(pixels), self.reference.features(None, pixels)
        probabilities, embedding = self._run(pixels, [0, 1])
        return calibrated(probabilities, self.info.temperature), self.reference.features(embedding, pixels)

    def labels(self, probabilities: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The label of each row of float[N, classes] and that label's probability, float64[N]."""
        chosen = self.label_indices(probabilities)
        score = np.asarray(probabilities, dtype=np.float64)[np.arange(len(chosen)), chosen]
        return [self.classes[k] for k in chosen.tolist()], score

    def label_indices(self, probabilities: np.ndarray) -> np.ndarray:
        """int64[N]: two classes by the threshold, more by the largest probability."""
        positive = None if self.info.positive_class is None else self.classes.index(self.info.positive_class)
        return predict_labels(np.asarray(probabilities), positive, self.info.threshold)

    def _run(self, pixels: np.ndarray, outputs: list[int]) -> list[np.ndarray]:
        shape = self.info.input_shape
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != shape:
            raise ModelError(
                f"Got pixels {pixels.dtype}{list(pixels.shape)}. Expected uint8[N, {', '.join(map(str, shape))}]. "
                "Make them with the model's own transform."
            )
        names = [self._session.get_outputs()[output].name for output in outputs]
        starts = range(0, max(len(pixels), 1), BATCH)  # no image is a batch, too: it tells the outputs' widths
        parts = [self._session.run(names, self._fed(pixels[k : k + BATCH])) for k in starts]
        return [np.concatenate(found).astype(np.float32, copy=False) for found in zip(*parts, strict=True)]

    def _fed(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """What each input of the graph takes of a batch of images: pixels, or the vectors that the features make."""
        fed = {}
        for taken in self._session.get_inputs():
            values = pixels if self.features is None or taken.type == PIXELS else self.features.apply(pixels)
            fed[taken.name] = np.ascontiguousarray(values)
        return fed

    def _check_shapes(self) -> None:
        """One blank image through the graph: what comes out must fit the classes."""
        expected = [[PIXELS]] if self.features is None else [[VECTORS], [PIXELS, VECTORS]]
        inputs = sorted((entry.type for entry in self._session.get_inputs()), reverse=True)
        if inputs not in expected:
            raise ModelError(f"The model takes {inputs}. Expected {' or '.join(map(str, expected))}.")
        try:
            out = self.predict(np.zeros((1, *self.info.input_shape), dtype=np.uint8))
        except ModelError:
            raise
        except (DataError, InvalidRequest) as error:
            raise ModelError(f"The features of {self.info.config} do not fit its images. {error.message}") from error
        except Exception as error:  # onnxruntime raises many private types
            raise ModelError(f"The model of {self.info.config} does not run on its own input shape: {error}") from error
        if out.shape != (1, len(self.classes)) or not np.isfinite(out).all():
            raise ModelError(
                f"The model of {self.info.config} gives {out.shape} for one blank image. "
                f"Expected {(1, len(self.classes))} finite numbers. Train it again."
            )
        if self.reference is not None:
            self._check_reference(self.reference)

    def _check_reference(self, reference: Reference) -> None:
        if reference.classes != self.classes or (reference.kind == "embedding" and not self.can_embed):
            raise ModelError(
                f"The drift reference of {self.info.config} is for the classes {list(reference.classes)} and a model's "
                f"{reference.kind}: another model's. Train it again."
            )
        try:
            self.predict_with_features(np.zeros((1, *self.info.input_shape), dtype=np.uint8))
        except DataError as error:
            raise ModelError(f"The drift reference of {self.info.config} does not fit it: {error}") from error


def load_package(lake: Storage, source: str | bytes, *, package_id: str | None = None, threads: int = 1) -> Model:
    """Loads a package from its lake path or its bytes; ``threads`` is what one prediction may use.

    A path must end in the SHA-256 of the content. Raises ModelError for a package that is missing, damaged,
    of an unknown format, or that holds anything but data and standard operators.
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
    members = _unpack(data)
    info = _info(members[MANIFEST])
    check_graph(members[GRAPH])
    reference = Reference.from_bytes(members[REFERENCE]) if REFERENCE in members else None
    return Model(info, members[GRAPH], found, threads, reference, _features(info, members.get(FEATURES)))


def _unpack(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            optional = {REFERENCE, FEATURES}
            if set(members) - optional != {MANIFEST, GRAPH} or len(archive.infolist()) != len(members):
                raise ModelError(
                    f"A model package holds {sorted(members)}. Expected {MANIFEST} and {GRAPH}, {REFERENCE} where "
                    f"drift is measured, {FEATURES} where the graph takes features, and nothing else."
                )
            if sum(member.file_size for member in members.values()) > MAX_PACKAGE_BYTES:
                raise ModelError(f"A model package unpacks to more than {MAX_PACKAGE_BYTES:,} bytes and is refused.")
            return {name: archive.read(name) for name in members}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise ModelError(f"A model package is no readable zip file ({error}). Train it again.") from error


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


def _transform(info: PackageInfo) -> ImageTransform:
    try:
        transform = ImageTransform.model_validate(info.transform)
    except ValidationError as error:
        raise ModelError(f"A model package names a transform that is not valid: {error.errors()[0]['msg']}.") from error
    shape = (transform.height, transform.width, transform.channels)
    if shape != info.input_shape:
        raise ModelError(f"The model takes images of {info.input_shape}, but its transform makes {shape}.")
    return transform
