"""The reference: what a model's validation images look like. Small arrays, kept in the model package.

At most MAX_IMAGES images (2,000) with 64 features of two bytes each: about 0.4 MB, and 0.3 KB for each number of the
model's embedding. The file is an npz without pickled objects, so that loading it cannot execute code.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from darkroom.drift.images import NUMBERS, Images, pixel_statistics
from darkroom.errors import DataError, ModelError

MAX_IMAGES = 2000
MAX_FEATURES = 64
MAX_BYTES = 16 * 2**20
FORMAT_VERSION = 1
_RIDGE = 0.1
_LARGEST = 1e4  # of a projected feature, which has a spread of about one: what float16 holds with room to spare

Kind = Literal["embedding", "pixels"]


@dataclass(frozen=True)
class Projection:
    """An affine map to at most 64 numbers an image: (x - mean) @ matrix; mean float32[D], matrix float32[D, K]."""

    mean: np.ndarray
    matrix: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """float32[N, K] of float[N, D], rounded to what float16 holds. Raises DataError for another width.

        Summed in float64 and rounded, so that an image's numbers do not depend on the images beside it.
        """
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise DataError(f"Got features of shape {values.shape}. Expected (N, {len(self.mean)}): another model's.")
        projected = (values.astype(np.float64) - self.mean) @ self.matrix.astype(np.float64)
        return np.clip(projected, -_LARGEST, _LARGEST).astype(np.float16).astype(np.float32)

    @staticmethod
    def fit(values: np.ndarray) -> Projection:
        """Principal directions of the standardised features, each divided by its spread: at most 64.

        A tenth of the mean variance is added to each direction's, so that directions without any are not blown up.
        ``values`` float[N, D] must be those of other images than the reference's: directions fitted to the reference
        would make every later image look further away than its own.
        """
        values = values.astype(np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        constant = spread <= 1e-6 * (1 + np.abs(mean))  # says nothing, and would be divided by nothing
        scale = np.where(constant, 0.0, 1 / np.where(constant, 1.0, spread))
        _, sizes, directions = np.linalg.svd((values - mean) * scale, full_matrices=False)
        variance = sizes**2 / len(values)
        ridge = _RIDGE * variance.sum() / values.shape[1]
        kept = min(MAX_FEATURES, len(sizes))
        weights = 1 / np.sqrt(np.maximum(variance[:kept] + ridge, 1e-12))
        return Projection(mean.astype(np.float32), (directions[:kept].T * weights * scale[:, None]).astype(np.float32))


@dataclass(frozen=True)
class Reference:
    """What undrifted images look like to one model.

    ``images`` hold the measurements (without ids) and the projected features; ``truth`` the true labels; ``group``
    int[N], equal for images that belong together (a patient), which days are drawn by. ``kind`` says what was
    projected: the model's embedding, or statistics of the transformed pixels where it has none.
    """

    images: Images
    truth: np.ndarray
    group: np.ndarray
    classes: tuple[str, ...]
    kind: Kind
    projection: Projection

    def __len__(self) -> int:
        return len(self.images)

    @property
    def groups(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 0

    def features(self, embedding: np.ndarray | None, pixels: np.ndarray) -> np.ndarray:
        """float32[N, K] from the model's ``embedding`` float32[N, D] or the ``pixels`` uint8[N, H, W, C] of images."""
        if self.kind == "pixels":
            return self.projection.apply(pixel_statistics(pixels))
        if embedding is None:
            raise DataError("The reference was made from embeddings, and the model gave none. Train it again.")
        return self.projection.apply(embedding)

    def to_bytes(self) -> bytes:
        """One npz file; equal references give equal bytes."""
        modes = sorted(set(self.images.mode.tolist()))
        facts = {"format_version": FORMAT_VERSION, "kind": self.kind, "classes": self.classes, "modes": modes}
        assert self.images.features is not None
        arrays: dict[str, Any] = {
            "facts": np.frombuffer(json.dumps(facts, ensure_ascii=True).encode(), dtype=np.uint8),
            "numbers": self.images.numbers.astype(np.float32),
            "mode": _codes(self.images.mode, modes),
            "label": _codes(self.images.label, self.classes),
            "truth": _codes(self.truth, self.classes),
            "score": self.images.score.astype(np.float32),
            "features": self.images.features.astype(np.float16),
            "group": self.group.astype(np.int32),
            "projection_mean": self.projection.mean.astype(np.float32),
            "projection_matrix": self.projection.matrix.astype(np.float32),
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Reference:
        """Raises ModelError for bytes that are no reference, or one of an unknown format."""
        if len(data) > MAX_BYTES:
            raise ModelError(f"The drift reference has {len(data):,} bytes. Expected at most {MAX_BYTES:,}.")
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                declared = sum(member.file_size for member in archive.infolist())
            if declared > MAX_BYTES:
                raise ModelError(f"The drift reference unpacks to {declared:,} bytes. Expected at most {MAX_BYTES:,}.")
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            facts = json.loads(arrays["facts"].tobytes())
            if facts["format_version"] != FORMAT_VERSION:
                raise ModelError(
                    f"The drift reference has the format version {facts['format_version']!r}. "
                    f"Expected {FORMAT_VERSION}. Install the Darkroom that wrote it, or train again."
                )
            return _from_arrays(arrays, facts)
        except (ValueError, KeyError, IndexError, TypeError, OSError, EOFError, zipfile.BadZipFile, DataError) as error:
            raise ModelError(
                f"The drift reference of a model package cannot be read ({error!r}). Train it again."
            ) from error


def choose_images(ids: Sequence[str], group: Sequence[str], duplicates: Sequence[str | None]) -> np.ndarray:
    """int64[M]: which validation images a reference is made of, M at most MAX_IMAGES.

    One of each cluster of near duplicates (``duplicates`` names it, None for an image of its own); of too many, whole
    groups in an order that is drawn the same each time.
    """
    names = np.array([cluster or f"id:{key}" for cluster, key in zip(duplicates, ids, strict=True)], dtype=np.str_)
    order = np.argsort(np.array(ids, dtype=np.str_), kind="stable")
    _, first = np.unique(names[order], return_index=True)
    rows = np.sort(order[first])
    if len(rows) <= MAX_IMAGES:
        return rows
    found, member = np.unique(np.array(group, dtype=np.str_)[rows], return_inverse=True)
    place = np.random.default_rng(0).permutation(len(found))[member]
    sizes = np.bincount(place)
    whole = int(sizes[np.cumsum(sizes) <= MAX_IMAGES].sum()) or MAX_IMAGES  # one huge group is cut
    return np.sort(rows[np.argsort(place, kind="stable")[:whole]])


def build_reference(
    images: Images,
    truth: Sequence[str],
    group: Sequence[str],
    classes: Sequence[str],
    kind: Kind,
    projection: Projection,
    raw: np.ndarray,
) -> Reference:
    """The reference of a model from validation images that ``choose_images`` chose; it was trained on none of them.

    ``images`` without features; ``raw`` float[N, D] are the model's embeddings (kind "embedding") or
    ``pixel_statistics`` (kind "pixels"); ``projection``, fitted to training images, makes features of them. Raises
    DataError for no image, too many, unknown labels, or features that are not finite.
    """
    if not 0 < len(images) <= MAX_IMAGES:
        raise DataError(f"Got {len(images):,} validation images. A drift reference is made of 1 to {MAX_IMAGES:,}.")
    if len(raw) != len(images) or not np.isfinite(raw).all():
        raise DataError(
            f"Got features of shape {raw.shape} for {len(images)} validation images, all finite: "
            f"{bool(np.isfinite(raw).all())}. Expected one finite row an image. Train the model again."
        )
    if unknown := sorted({*truth, *images.label.tolist()} - set(classes)):
        raise DataError(f"The labels {unknown} are none of the model's classes {list(classes)}. Train it again.")
    _, member = np.unique(np.array(list(group), dtype=np.str_), return_inverse=True)
    described = replace(images, features=projection.apply(raw))
    return Reference(described, np.array(list(truth)), member, tuple(classes), kind, projection)


def _codes(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[value] for value in values.tolist()], dtype=np.int32)


def _from_arrays(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Reference:
    classes, modes = tuple(facts["classes"]), np.array(facts["modes"], dtype=np.str_)
    count = len(arrays["group"])
    names = np.array(classes, dtype=np.str_)
    images = Images(
        [""] * count,
        arrays["numbers"],
        modes[arrays["mode"]],
        names[arrays["label"]],
        arrays["score"],
        arrays["features"].astype(np.float32),
    )
    projection = Projection(arrays["projection_mean"], arrays["projection_matrix"])
    if projection.matrix.shape != (len(projection.mean), arrays["features"].shape[1]) or arrays["numbers"].shape[
        1
    ] != len(NUMBERS):
        raise ValueError("its arrays do not fit each other")
    return Reference(images, names[arrays["truth"]], arrays["group"], classes, facts["kind"], projection)
