"""One bootstrap for every metric of several models on the same images: intervals, and of differences, paired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from darkroom.metrics import CHUNK_CELLS, EPSILON, mean_recall
from darkroom.statistics import ranking_columns

RESAMPLED = ("balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc", "log_loss", "ece")
ROUNDS, FEWEST_ROUNDS = 1000, 300
BUDGET_CELLS = 50_000_000
"""Draws of an image for one ranking: 50,000 images of two classes, or 5,000 of ten, still get every round."""
ECE_BINS = 10


@dataclass(frozen=True)
class Answers:
    """What one model said about N images: float64[N, C] probabilities and int64[N] labels."""

    probabilities: np.ndarray
    labels: np.ndarray


def rounds_for(images: int, classes: int = 2) -> int:
    """How many resamples are drawn of so many images, so that a model takes a second or so."""
    rankings = len(ranking_columns(classes, None))
    return int(np.clip(BUDGET_CELLS // max(images * rankings, 1), FEWEST_ROUNDS, ROUNDS))


def resampled_metrics(
    truth: np.ndarray,
    models: Mapping[str, Answers],
    positive: int | None = None,
    groups: np.ndarray | None = None,
    *,
    rounds: int | None = None,
    seed: int = 0,
) -> dict[str, dict[str, np.ndarray]]:
    """{model: {metric: float64[rounds]}}, every model over the same resamples, so that differences are paired.

    Whole groups are drawn with replacement (cluster bootstrap: Field and Welsh 2007, doi
    10.1111/j.1467-9868.2007.00593.x). A resample that lacks a class has NaN where the metric is not defined.
    ``truth`` int[N] with N >= 1, and at least one model. Equal arguments, equal results.
    """
    classes = next(iter(models.values())).probabilities.shape[1]
    number = rounds_for(len(truth), classes) if rounds is None else rounds
    prepared = {name: _Prepared(truth, answers, positive) for name, answers in models.items()}
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {m: [] for m in RESAMPLED} for name in models}
    for weights in _draws(len(truth), groups, number, seed):
        for name, one in prepared.items():
            for metric, values in one.measure(weights).items():
                parts[name][metric].append(values)
    return {name: {m: np.concatenate(found) for m, found in each.items()} for name, each in parts.items()}


def interval_of(values: np.ndarray, level: float = 0.95, *, around: float | None = None) -> tuple[float, float] | None:
    """The middle ``level`` of the resamples in which the metric is defined; None where fewer than nine in ten are.

    ``around`` moves it so that its median is that value, and not below zero: for a calibration error, which
    resampling enlarges, since repeated images make every bin rougher.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < 0.9 * len(values):
        return None
    low, middle, high = np.quantile(defined, [(1 - level) / 2, 0.5, (1 + level) / 2])
    if around is None:
        return float(low), float(high)
    return max(0.0, float(low + around - middle)), float(high + around - middle)


def bootstrap_p(differences: np.ndarray) -> float | None:
    """Two-sided p of a paired difference: twice the smaller share of resamples on either side of zero."""
    defined = differences[np.isfinite(differences)]
    if len(defined) < 0.9 * len(differences) or len(defined) == 0:
        return None
    below, above = int((defined <= 0).sum()), int((defined >= 0).sum())
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(defined))))


def _draws(images: int, groups: np.ndarray | None, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """float32[r, N] blocks: how often each image is in each resample."""
    member = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    number = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK_CELLS // images)
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        drawn = rng.integers(0, number, (size, number)) + np.arange(size)[:, None] * number
        counts = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number).astype(np.float32)
        yield counts if number == images and groups is None else counts[:, member]


class _Prepared:
    """What of a model's answers can be sorted and summed once for all resamples."""

    def __init__(self, truth: np.ndarray, answers: Answers, positive: int | None) -> None:
        probabilities, labels = np.asarray(answers.probabilities, dtype=np.float64), answers.labels
        count, classes = probabilities.shape
        rows = np.arange(count)
        self.classes = classes
        right = labels == truth
        score = probabilities[rows, labels]
        bins = np.clip((score * ECE_BINS).astype(np.int64), 0, ECE_BINS - 1)
        columns = np.zeros((count, 3 * classes + 2 + ECE_BINS), dtype=np.float32)
        columns[rows, truth] = 1
        columns[rows[right], classes + truth[right]] = 1
        columns[rows, 2 * classes + labels] = 1
        columns[:, 3 * classes] = right
        columns[:, 3 * classes + 1] = -np.log(np.clip(probabilities[rows, truth], EPSILON, 1.0))
        columns[rows, 3 * classes + 2 + bins] = score - right
        self.columns = columns
        self.rankings = [_Ranking(truth == k, probabilities[:, k]) for k in ranking_columns(classes, positive)]

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric of float32[r, N] resamples."""
        total = weights.sum(1, dtype=np.float64)
        sums = (weights @ self.columns).astype(np.float64)
        k = self.classes
        support, hits, named = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k : 3 * k]
        whole = (support > 0).all(1)
        areas = np.array([ranking.areas(weights) for ranking in self.rankings]).mean(0)
        return {
            "balanced_accuracy": np.where(whole, mean_recall(hits, support), np.nan),
            "accuracy": sums[:, 3 * k] / total,
            "macro_f1": np.where(whole, (2 * hits / np.maximum(support + named, 1)).mean(1), np.nan),
            "roc_auc": areas[0],
            "pr_auc": areas[1],
            "log_loss": sums[:, 3 * k + 1] / total,
            "ece": np.abs(sums[:, 3 * k + 2 :]).sum(1) / total,
        }


class _Ranking:
    """One class against the rest: areas under the ROC and the precision-recall curve of weighted images."""

    def __init__(self, mine: np.ndarray, score: np.ndarray) -> None:
        order = np.argsort(score, kind="stable")
        self.positives, self.negatives = order[mine[order]], order[~mine[order]]
        up, down = score[self.positives], score[self.negatives]
        self.below = np.searchsorted(down, up, side="left")  # negatives that each positive stands strictly above
        self.through = np.searchsorted(down, up, side="right")
        self.first = np.searchsorted(up, up, side="left")  # positives strictly below each positive

    def areas(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(ROC area, average precision), float64[r] each; NaN where a side has no image."""
        up = weights[:, self.positives].astype(np.float64)
        ups = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(up, axis=1)], axis=1)
        downs = np.concatenate(
            [np.zeros((len(weights), 1)), np.cumsum(weights[:, self.negatives], axis=1, dtype=np.float64)], axis=1
        )
        positives, negatives = ups[:, -1], downs[:, -1]
        below = downs[:, self.below]
        through = below if np.array_equal(self.below, self.through) else downs[:, self.through]
        true_positive = positives[:, None] - ups[:, self.first]
        called = true_positive + negatives[:, None] - below
        with np.errstate(invalid="ignore", divide="ignore"):
            roc = (up * (below + through)).sum(1) / (2 * positives * negatives)
            precision = np.divide(true_positive, called, out=np.zeros_like(called), where=called > 0)
            average = np.where(negatives > 0, (up * precision).sum(1) / positives, np.nan)
        return roc, average
