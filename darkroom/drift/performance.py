"""When true labels arrive: how good the predictions were, and whether that is worse than on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darkroom.drift.reference import Reference
from darkroom.errors import DataError
from darkroom.metrics import balanced_accuracy, confusion, percentile_interval, resampled_counts

MIN_LABELLED = 20
_ROUNDS = 4000


@dataclass(frozen=True)
class Performance:
    """Balanced accuracy of labelled predictions, with 95 % intervals; None where it is not defined.

    ``worse`` is true where the whole interval of ``difference`` (these minus validation) lies below zero.
    """

    images: int
    value: float | None
    interval: tuple[float, float] | None
    reference: float | None
    difference: tuple[float, float] | None
    worse: bool
    said: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_performance(
    reference: Reference | None,
    truth: Sequence[str],
    predicted: Sequence[str],
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> Performance:
    """Balanced accuracy over the classes that occur, against the reference's over the same classes.

    Bootstrap of 4,000 resamples on each side, whole groups where they are known. Raises DataError for a label that is
    no class of the model.
    """
    names = list(classes)
    if unknown := sorted({*truth, *predicted} - set(names)):
        raise DataError(f"The labels {unknown} are none of the model's classes {names}. Correct them.")
    index = {name: k for k, name in enumerate(names)}
    true = np.array([index[name] for name in truth], dtype=np.int64)
    said = np.array([index[name] for name in predicted], dtype=np.int64)
    if len(true) != len(said):
        raise DataError(f"Got {len(true)} true labels and {len(said)} predictions. Expected one each.")
    if len(true) < MIN_LABELLED:
        sentence = f"{len(true)} true labels. Expected at least {MIN_LABELLED}: nothing is said of them."
        return Performance(len(true), None, None, None, None, False, sentence)
    present = np.bincount(true, minlength=len(names)) > 0
    member = None if groups is None else np.unique(np.array(list(groups)), return_inverse=True)[1]
    value, drawn = _resampled(true, said, present, member, seed=0)
    interval = percentile_interval(drawn, 0.95)
    base = spread = None
    if reference is not None:
        ours = _indices(reference.truth, index), _indices(reference.images.label, index)
        if (np.bincount(ours[0], minlength=len(names)) > 0)[present].all():
            base, other = _resampled(*ours, present, reference.group, seed=1)
            spread = percentile_interval(drawn - other, 0.95)
    worse = spread is not None and spread[1] < 0
    sentence = (
        f"Balanced accuracy {value:.3f} ({interval[0]:.3f} to {interval[1]:.3f}) on {len(true):,} labelled images"
    )
    if base is None or spread is None:
        return Performance(
            len(true), value, interval, None, None, False, f"{sentence}; there is nothing to compare with."
        )
    verdict = "worse than" if worse else "not shown to be worse than"
    sentence = f"{sentence}: {verdict} the {base:.3f} on validation (difference {spread[0]:+.3f} to {spread[1]:+.3f})."
    return Performance(len(true), value, interval, base, spread, worse, sentence)


def _indices(labels: np.ndarray, index: dict[str, int]) -> np.ndarray:
    return np.array([index[name] for name in labels.tolist()], dtype=np.int64)


def _resampled(
    truth: np.ndarray, predicted: np.ndarray, present: np.ndarray, groups: np.ndarray | None, *, seed: int
) -> tuple[float, np.ndarray]:
    """Balanced accuracy over some classes, and float64[rounds] of it on resamples."""
    kinds = len(present)
    counts = resampled_counts(truth * kinds + predicted, kinds * kinds, groups, rounds=_ROUNDS, seed=seed)
    rows = np.flatnonzero(present)
    drawn = balanced_accuracy(_only(counts.reshape(-1, kinds, kinds), rows))
    return float(balanced_accuracy(_only(confusion(truth, predicted, kinds)[None], rows))[0]), drawn


def _only(matrices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The matrices with the true classes that count; the others' images are taken out."""
    kept = np.zeros_like(matrices)
    kept[:, rows] = matrices[:, rows]
    return kept
