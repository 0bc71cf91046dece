"""What a classifier is measured by, and how sure one may be of it.

A metric that is not defined on the data (one class only, no image) is None, and ``undefined`` says why:
never a NaN that a comparison would let through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkroom.errors import DataError

# What people call the metrics of ``score``, in the order in which they are shown.
METRIC_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC area",
    "pr_auc": "PR area",
    "log_loss": "log loss",
    "ece": "calibration error",
}
LOWER_IS_BETTER = frozenset({"log_loss", "ece"})
CHUNK_CELLS = 4_000_000  # resampled positions held at once: bounds the memory of a bootstrap
EPSILON = float(np.finfo(np.float32).eps)  # a probability of zero counts as this in a log loss


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64[classes, classes]: rows are the true class, columns the predicted one. Indices 0..classes-1."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def mean_recall(hits: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Balanced accuracy: the mean recall over the classes that occur, along the last axis. NaN where none does."""
    present = support > 0
    recall = np.where(present, hits / np.maximum(support, 1), 0.0)
    return np.where(present.any(-1), recall.sum(-1) / np.maximum(present.sum(-1), 1), np.nan)


def balanced_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Balanced accuracy of one or many confusion matrices [..., C, C]."""
    return mean_recall(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1))


def predict_labels(probabilities: np.ndarray, positive: int | None, threshold: float | None) -> np.ndarray:
    """int64[N] class indices: two classes by the threshold on the positive one, more by the largest probability.

    Two classes: the positive one if and only if its probability is at least ``threshold``.
    """
    if probabilities.shape[1] == 2 and positive is not None and threshold is not None:
        return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def choose_threshold(truth: np.ndarray, positive_probability: np.ndarray, looks: int = 1) -> float:
    """A threshold for the best balanced accuracy on these images, no further from 0.5 than they make sure.

    ``truth`` is bool[N], true for the positive class; each image is among the N ``looks`` times. Of the thresholds
    whose balanced accuracy is within one standard error of the best, the one nearest 0.5 is taken (the
    one-standard-error rule of Breiman et al. 1984, ch. 3.4.3): the very best of a hundred images is mostly chance. With
    one class only nothing can be chosen and 0.5 stands.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return 0.5
    order = np.argsort(positive_probability, kind="stable")
    values = positive_probability[order].astype(np.float64)
    hits = truth[order].astype(np.int64)
    # Cutting before position k calls everything from k on positive.
    missed = np.concatenate([[0], np.cumsum(hits)])
    spared = np.concatenate([[0], np.cumsum(1 - hits)])
    quality = ((positives - missed) / positives + spared / negatives) / 2
    edges = np.concatenate([[0.0], values, [1.0]])
    distinct = np.concatenate([[True], values[1:] > values[:-1], [True]])  # no cut between equal values
    quality = np.where(distinct, quality, -np.inf)
    top = int(quality.argmax())
    hit = positives - missed[top]
    error = _balanced_error(*(count / looks for count in (hit, positives, spared[top], negatives)))
    best = np.flatnonzero(quality >= quality[top] - error)
    # Any cut in (edges[k], edges[k+1]] is equally good. Half-way leaves room on both sides; 0.5 wins if inside.
    low, high = edges[best], edges[best + 1]
    inside = (low < 0.5) & (high >= 0.5)
    cuts = np.where(inside, 0.5, (low + high) / 2)
    return float(cuts[np.abs(cuts - 0.5).argmin()])


def _balanced_error(hits: float, positives: float, spared: float, negatives: float) -> float:
    """Standard error of a balanced accuracy, from rates pulled inwards by one image (Agresti and Coull 1998)."""
    rates = [((part + 1) / (whole + 2), whole) for part, whole in ((hits, positives), (spared, negatives))]
    return float(np.sqrt(sum(rate * (1 - rate) / whole for rate, whole in rates)) / 2)


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    positive_class: str | None = None,
    threshold: float | None = None,
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Every metric of one model on one set of images.

    ``truth`` int[N] indices into ``classes``; ``probabilities`` float[N, C], rows summing to one; ``predicted`` int[N],
    the labels that were said, where it is not ``predict_labels`` with this threshold that says them.
    Returns accuracy, balanced_accuracy, macro_f1, roc_auc, pr_auc, log_loss, ece (None where undefined), count,
    precision, recall and support by class, confusion (rows true), undefined {metric: reason}.
    With more than two classes, roc_auc and pr_auc are means over one-against-the-rest.
    Raises DataError for shapes that do not fit and for probabilities that are not finite.
    """
    names = list(classes)
    truth = np.asarray(truth, dtype=np.int64)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (len(truth), len(names)):
        raise DataError(
            f"Got probabilities of shape {probabilities.shape} for {len(truth)} images and {len(names)} classes. "
            f"Expected {(len(truth), len(names))}. Score the model's output on the same images as the labels."
        )
    if not np.isfinite(probabilities).all():
        raise DataError(
            f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} of {len(truth)} predictions are not finite "
            "numbers. A model that predicts NaN cannot be measured; check its training loss."
        )
    undefined: dict[str, str] = {}
    positive = names.index(positive_class) if positive_class is not None else None
    if predicted is None:
        predicted = predict_labels(probabilities, positive, threshold)
    matrix = confusion(truth, predicted, len(names))
    support, named, hits = matrix.sum(1), matrix.sum(0), np.diagonal(matrix)
    result: dict[str, Any] = {
        "count": len(truth),
        "accuracy": _ratio(hits.sum(), len(truth), "accuracy", "no images", undefined),
        "balanced_accuracy": None,
        "macro_f1": None,
        "precision": {
            name: _ratio(hits[k], named[k], f"precision of {name}", "never predicted", undefined)
            for k, name in enumerate(names)
        },
        "recall": {
            name: _ratio(hits[k], support[k], f"recall of {name}", "no image of this class", undefined)
            for k, name in enumerate(names)
        },
        "support": {name: int(support[k]) for k, name in enumerate(names)},
        "confusion": matrix.tolist(),
    }
    absent = [name for k, name in enumerate(names) if support[k] == 0]
    if absent:
        reason = f"no image of {', '.join(absent)}"
        undefined |= dict.fromkeys(("balanced_accuracy", "macro_f1"), reason)
    else:
        result["balanced_accuracy"] = float(balanced_accuracy(matrix))
        result["macro_f1"] = float(np.mean(2 * hits / (support + named)))
    result |= _ranking(truth, probabilities, names, positive, undefined)
    result["log_loss"] = None
    if len(truth):
        chosen = np.clip(probabilities[np.arange(len(truth)), truth], EPSILON, 1.0)
        result["log_loss"] = float(-np.log(chosen).mean())
    else:
        undefined |= dict.fromkeys(("log_loss", "ece"), "no images")
    result["ece"] = calibration_error(probabilities[np.arange(len(truth)), predicted], predicted == truth)
    result["undefined"] = undefined
    return result


def _ratio(part: Any, whole: Any, metric: str, reason: str, undefined: dict[str, str]) -> float | None:
    if whole == 0:
        undefined[metric] = reason
        return None
    return float(part / whole)


def _ranking(
    truth: np.ndarray, probabilities: np.ndarray, names: list[str], positive: int | None, undefined: dict[str, str]
) -> dict[str, float | None]:
    """Areas under the ROC and the precision-recall curve (average precision)."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    present = np.bincount(truth, minlength=len(names)) > 0
    if present.sum() < 2 or (len(names) > 2 and not present.all()):
        reason = "no images" if not present.any() else "not every class occurs"
        undefined |= {"roc_auc": reason, "pr_auc": reason}
        return {"roc_auc": None, "pr_auc": None}
    one = 1 if positive is None else positive
    columns = [one] if len(names) == 2 else list(range(len(names)))
    roc = [roc_auc_score(truth == k, probabilities[:, k]) for k in columns]
    precision_recall = [average_precision_score(truth == k, probabilities[:, k]) for k in columns]
    return {"roc_auc": float(np.mean(roc)), "pr_auc": float(np.mean(precision_recall))}


def calibration_error(score: np.ndarray, right: np.ndarray, bins: int = 10) -> float | None:
    """Expected calibration error: by how much the predicted label's probability misses the share of right answers.

    ``score`` float[N] in 0..1, ``right`` bool[N]; the mean over equal bins of the score, weighted by their images
    (Guo et al. 2017, arXiv 1706.04599). None without images. Few images make it too large, never too small.
    """
    if len(score) == 0:
        return None
    place = np.clip((np.asarray(score) * bins).astype(np.int64), 0, bins - 1)
    gap = np.bincount(place, weights=score, minlength=bins) - np.bincount(place, weights=right, minlength=bins)
    return float(np.abs(gap).sum() / len(score))


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of ``score`` under flat names (``recall_NORMAL``), without the undefined ones."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if name in ("precision", "recall"):
            flat |= {f"{prefix}{name}_{label}": float(part) for label, part in value.items() if part is not None}
        elif isinstance(value, (int, float)):
            flat[f"{prefix}{name}"] = float(value)
    return flat


def resampled_counts(
    cells: np.ndarray, kinds: int, groups: np.ndarray | None = None, *, rounds: int = 2000, seed: int = 0
) -> np.ndarray:
    """Bootstrap: int64[rounds, kinds], how often each kind of image occurs in each resample.

    ``cells`` int[N] in 0..kinds-1 says what kind each image is (its true and predicted class, say). Whole groups
    are drawn where ``groups`` is given, since images of one patient are not independent (cluster bootstrap:
    Field and Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x). Without groups the counts of a resample are one
    multinomial draw, which costs the same for ten images and for ten million.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        counts = np.bincount(cells, minlength=kinds)
        return rng.multinomial(len(cells), counts / len(cells), size=rounds)
    _, member = np.unique(groups, return_inverse=True)
    number = int(member.max()) + 1
    table = np.bincount(member * kinds + cells, minlength=number * kinds).reshape(number, kinds).astype(np.float64)
    # Groups with equal rows are interchangeable: draw how many of each distinct row.
    rows, frequency = np.unique(table, axis=0, return_counts=True)
    drawn = np.empty((rounds, kinds), dtype=np.int64)
    step = max(1, CHUNK_CELLS // max(len(rows), 1))
    for start in range(0, rounds, step):
        size = min(step, rounds - start)
        drawn[start : start + size] = np.rint(rng.multinomial(number, frequency / number, size=size) @ rows)
    return drawn


def interval(
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
    groups: np.ndarray | None = None,
    *,
    level: float = 0.95,
    rounds: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the balanced accuracy; None without images."""
    if len(truth) == 0:
        return None
    counts = resampled_counts(truth * classes + predicted, classes * classes, groups, rounds=rounds, seed=seed)
    return percentile_interval(balanced_accuracy(counts.reshape(-1, classes, classes)), level)


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """The middle ``level`` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
