"""How far a model's probabilities can be believed: a temperature fitted on val, and reliability by bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darkroom.metrics import EPSILON, calibration_error
from darkroom.statistics import wilson_interval

BOUNDS = (0.1, 20.0)
FEWEST_IMAGES = 20
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Temperature:
    """The fitted temperature, the log loss on val without and with it, and why it is what it is."""

    value: float
    loss_before: float | None
    loss_after: float | None
    reason: str


def calibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T) of float[N, C], in its dtype: T above 1 makes a model less sure, below 1 surer.

    T = 1 returns the very array. Probabilities of zero are lifted to 1.2e-7 first, as in the log loss; the order of
    the classes of an image never changes.
    """
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), EPSILON)) / temperature
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=probabilities.dtype)


def fit_temperature(
    truth: np.ndarray, probabilities: np.ndarray, groups: Sequence[str] | np.ndarray | None = None, looks: int = 1
) -> Temperature:
    """The temperature with the lowest log loss on val (Guo et al. 2017, arXiv 1706.04599), where it is sure to help.

    ``truth`` int[N], ``probabilities`` float[N, C]; each image is among the N ``looks`` times. T lies between 0.1 and
    20; the search is bounded, and equal input gives an equal value. Two guards against too few images:

    - Targets are smoothed as Platt (1999) did: an image of a class with n images counts as (n + 1) / (n + C) of its
      class. So where every image is right, T does not run towards 0, and no model gets surer than n images allow.
    - T stays 1 where val has fewer than 20 images or one class only, and where the mean (unsmoothed) loss does not
      fall by more than its own standard error, taken over whole groups. A model that needs no temperature passes that
      about one time in twenty, as in a likelihood-ratio test (the gain z^2 / 2 exceeds its error |z| where |z| > 2).
    """
    from scipy.optimize import minimize_scalar

    probabilities = np.asarray(probabilities, dtype=np.float64)
    if (images := len(truth) // looks) < FEWEST_IMAGES:
        return Temperature(1.0, None, None, f"val has {images} images; a temperature needs {FEWEST_IMAGES}")
    if len(np.unique(truth)) < 2:
        return Temperature(1.0, None, None, "val has images of one class only")
    logs = np.log(np.maximum(probabilities, EPSILON))
    rows = np.arange(len(truth))

    support = np.bincount(truth, minlength=probabilities.shape[1]) / looks
    spread = 1 / (support + probabilities.shape[1])[truth]  # what a smoothed target gives each class

    def scaled(log_temperature: float) -> np.ndarray:
        logits = logs / np.exp(log_temperature)
        top = logits.max(axis=1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))

    def smoothed_loss(log_temperature: float) -> float:
        told = scaled(log_temperature)
        return float(-((support[truth] * told[rows, truth] + told.sum(axis=1)) * spread).mean())

    bounds = (float(np.log(BOUNDS[0])), float(np.log(BOUNDS[1])))
    found = minimize_scalar(smoothed_loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    value = round(float(np.exp(found.x)), 4)
    before, after = -scaled(0.0)[rows, truth], -scaled(float(np.log(value)))[rows, truth]
    gain = before - after
    _, member = np.unique(rows if groups is None else np.asarray(groups), return_inverse=True)
    by_group = np.bincount(member, gain - gain.mean())
    error = float(np.sqrt(len(by_group) / max(len(by_group) - 1, 1) * (by_group**2).sum())) / len(truth)
    loss, lower = float(before.mean()), float(after.mean())
    if not loss - lower > error:
        why = f"{value:g} moves val's log loss from {loss:.4f} to {lower:.4f}, no fall beyond its error {error:.4f}"
        return Temperature(1.0, loss, loss, why)
    return Temperature(value, loss, lower, f"lowers val's log loss from {loss:.4f} to {lower:.4f}")


def without_temperature(
    truth: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, temperature: float
) -> dict[str, float | None]:
    """``ece_before`` and ``log_loss_before`` of calibrated probabilities float[N, C], the temperature undone.

    ``labels`` int[N] stay: a threshold on the calibrated probability calls the same images positive.
    """
    rows = np.arange(len(truth))
    shares = np.maximum(np.asarray(probabilities, dtype=np.float64), _SMALLEST) ** temperature
    raw = shares / shares.sum(axis=1, keepdims=True)
    told = np.clip(raw[rows, truth], EPSILON, 1.0)
    return {
        "ece_before": calibration_error(raw[rows, labels], labels == truth),
        "log_loss_before": float(-np.log(told).mean()) if len(truth) else None,
    }


@dataclass(frozen=True)
class Bin:
    """Images whose predicted label has a probability in [low, high): their number, mean probability, share right."""

    low: float
    high: float
    count: int
    score: float | None
    right: float | None
    right_low: float | None
    right_high: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def reliability(score: np.ndarray, right: np.ndarray, bins: int = 10) -> list[Bin]:
    """The points of a reliability diagram; the bins are those of ``darkroom.metrics.calibration_error``.

    ``score`` float[N] is the predicted label's probability, ``right`` bool[N]. Intervals are Wilson's, and too narrow
    where images come in groups.
    """
    score, right = np.asarray(score, dtype=np.float64), np.asarray(right, dtype=bool)
    place = np.clip((score * bins).astype(np.int64), 0, bins - 1)
    found = []
    for k in range(bins):
        here = place == k
        count, hits = int(here.sum()), int(right[here].sum())
        low, high = wilson_interval(hits, count) or (None, None)
        mean = float(score[here].mean()) if count else None
        found.append(Bin(k / bins, (k + 1) / bins, count, mean, hits / count if count else None, low, high))
    return found
