"""What drift is looked for in: a few numbers of each image, never its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pyarrow as pa

from darkroom.errors import DataError

NUMBERS = ("mean", "std", "min", "max", "width", "height", "size_bytes")
"""Columns of the predictions and images tables that are compared as numbers."""


@dataclass(frozen=True)
class Images:
    """Measurements of some images, each array with a row an image.

    ``ids`` content ids; ``numbers`` float32[N, 7] in the order of NUMBERS, NaN where not known; ``mode`` Pillow's mode,
    "" where not known; ``label`` the predicted label; ``score`` float32[N], its probability; ``features``
    float32[N, K], the model's view of the image after the reference's projection, or None.
    """

    ids: Sequence[str]
    numbers: np.ndarray
    mode: np.ndarray
    label: np.ndarray
    score: np.ndarray
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.ids)
        shapes = {
            "numbers": (self.numbers.shape, (count, len(NUMBERS))),
            "mode": (self.mode.shape, (count,)),
            "label": (self.label.shape, (count,)),
            "score": (self.score.shape, (count,)),
        }
        if self.features is not None:
            shapes["features"] = (self.features.shape, (count, *self.features.shape[1:2]))
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise DataError(f"The {name} of {count} images have the shape {found}. Expected {expected}.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Images:
        """Some of the images: ``rows`` are positions, int[M]."""
        features = None if self.features is None else self.features[rows]
        return Images(
            [self.ids[row] for row in rows.tolist()],
            self.numbers[rows],
            self.mode[rows],
            self.label[rows],
            self.score[rows],
            features,
        )

    def without_features(self) -> Images:
        return replace(self, features=None)


def images_of_rows(rows: pa.Table) -> tuple[Images, int]:
    """The classified images among rows of the predictions table, and how many rows were none (a problem, no label).

    Rows without an embedding make ``features`` None for all where every row lacks it, NaN where some do.
    """
    usable = [problem is None and label is not None for problem, label in _pairs(rows, "problem", "label")]
    kept = rows.filter(pa.array(usable, pa.bool_())) if len(usable) else rows
    numbers = np.column_stack([_floats(kept, name) for name in NUMBERS]).reshape(kept.num_rows, len(NUMBERS))
    images = Images(
        kept["image_id"].to_pylist(),
        numbers,
        _texts(kept, "mode"),
        _texts(kept, "label"),
        _floats(kept, "score"),
        _vectors(kept),
    )
    return images, rows.num_rows - kept.num_rows


def _pairs(rows: pa.Table, first: str, second: str) -> list[tuple[str | None, str | None]]:
    return list(zip(rows[first].to_pylist(), rows[second].to_pylist(), strict=True))


def _floats(rows: pa.Table, name: str) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in rows[name].to_pylist()], dtype=np.float32)


def _texts(rows: pa.Table, name: str) -> np.ndarray:
    return np.array([value or "" for value in rows[name].to_pylist()], dtype=np.str_).reshape(rows.num_rows)


def _vectors(rows: pa.Table) -> np.ndarray | None:
    values = rows["embedding"].to_pylist() if "embedding" in rows.column_names else []
    lengths = {len(value) for value in values if value is not None}
    if not lengths:
        return None
    if len(lengths) > 1:
        raise DataError(f"Embeddings of {sorted(lengths)} numbers are in one partition. Expected one length. Rerun it.")
    missing = [np.nan] * lengths.pop()
    return np.array([missing if value is None else value for value in values], dtype=np.float32)


CELLS = 4
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def pixel_statistics(pixels: np.ndarray) -> np.ndarray:
    """float32[N, 40]: what stands in for an embedding where the model has none.

    ``pixels`` uint8[N, H, W, C], as the model sees them. Of the mean over channels: mean and spread of each cell of a
    4 x 4 grid, five quantiles, and the logarithm of the energy of neighbouring differences at three scales (blur).
    """
    found = np.zeros((len(pixels), 2 * CELLS * CELLS + len(LEVELS) + 3), dtype=np.float32)
    for row, image in enumerate(pixels):
        gray = image.astype(np.float32).mean(axis=2)
        mean = cv2.resize(gray, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        square = cv2.resize(gray * gray, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        spread = np.sqrt(np.maximum(square - mean * mean, 0))
        energies = []
        for _ in range(3):
            steps = [np.diff(gray, axis=axis) for axis in (0, 1)]
            energies.append(np.log1p(sum(float((step**2).mean()) if step.size else 0.0 for step in steps)))
            gray = cv2.resize(gray, [max(1, side // 2) for side in gray.shape[::-1]], interpolation=cv2.INTER_AREA)
        found[row] = np.concatenate([mean.ravel(), spread.ravel(), np.quantile(image, LEVELS), energies])
    return found
