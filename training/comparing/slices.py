"""How a model does on parts of the images: by mode, size, source and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darkroom.metrics import balanced_accuracy, confusion, percentile_interval, resampled_counts
from darkroom.statistics import wilson_interval
from training.comparing.measured import LEVEL, Measured
from training.deciding.scoring import slices_in

ROUNDS = 1000


@dataclass(frozen=True)
class Slice:
    """Images that share something, and the share of right answers among them.

    ``balanced_accuracy`` is None where a class is missing; ``low`` and ``high`` are the interval of the accuracy.
    """

    kind: str
    value: str
    images: int
    groups: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Slices:
    """The slices, worst first; of what all images have in common, and of what was too small, a sentence each."""

    found: tuple[Slice, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"found": [one.as_dict() for one in self.found], "notes": list(self.notes)}


def image_slices(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What a page tells images apart by, a value an image; ``rows``: ``training.deciding.scoring.image_rows``."""
    groups = [row["group"] or row["content_id"] for row in rows]
    return {**slices_in(rows), "images of the group": group_sizes(groups)}


def group_sizes(groups: Sequence[str]) -> list[str]:
    """How many of these images are in each image's group, as a slice: "1 image", "2 to 4 images", "5 and more"."""
    _, member, count = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    sizes = count[member].tolist() if len(groups) else []
    return ["1 image" if size == 1 else "2 to 4 images" if size < 5 else "5 images and more" for size in sizes]


def slices_on(measured: Measured, kinds: Mapping[str, Sequence[str]], min_images: int) -> Slices:
    """The accuracy of a config on every slice of at least ``min_images``; ``kinds`` has a value an image each."""
    found: list[Slice] = []
    notes: list[str] = []
    for kind, told in kinds.items():
        values = np.array(told)
        names, counts = np.unique(values, return_counts=True)
        if len(names) < 2:
            notes += [f"{kind}: all images are alike ({name or 'none'})." for name in names]
            continue
        small = int((counts < min_images).sum())
        if small:
            images = int(counts[counts < min_images].sum())
            notes.append(f"{kind}: {small} of {len(names)} have fewer than {min_images} images ({images:,} in all).")
        found += [_slice(measured, kind, name, values == name) for name in names[counts >= min_images].tolist()]
    return Slices(tuple(sorted(found, key=lambda one: (one.accuracy, one.kind, one.value))), tuple(notes))


def _slice(measured: Measured, kind: str, value: str, here: np.ndarray) -> Slice:
    truth, labels, groups = measured.truth[here], measured.labels[here], measured.groups[here]
    right = labels == truth
    low, high = share_interval(right, groups)
    matrix = confusion(truth, labels, len(measured.info.classes))
    whole = float(balanced_accuracy(matrix)) if (matrix.sum(1) > 0).all() else None
    return Slice(kind, value, len(truth), len(np.unique(groups)), float(right.mean()), low, high, whole)


def share_interval(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The interval of a share of right answers, bool[N] with N >= 1.

    Wilson's where every image is a group of its own, or where all answers are alike: then over the groups, since a
    bootstrap would see no spread. Otherwise a bootstrap of whole groups.
    """
    number = len(np.unique(groups))
    hits = int(right.sum())
    if number == len(right) or hits in (0, len(right)):
        whole = number if hits in (0, len(right)) else len(right)
        return wilson_interval(min(hits, whole), whole, level=LEVEL) or (0.0, 1.0)
    drawn = resampled_counts(right.astype(np.int64), 2, groups, rounds=ROUNDS)
    return percentile_interval(drawn[:, 1] / drawn.sum(1), LEVEL)
