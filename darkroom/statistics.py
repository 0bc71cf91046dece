"""Tests of whether two classifiers, asked about the same images, really differ.

Each answers with a ``Difference``: the value, its interval, a two-sided p-value and by which method. What cannot be
computed is None and ``reason`` says why; nothing here is ever NaN. Images of one group (a patient) are not independent:
where ``groups`` are given, every method draws, swaps or sums whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.html import plural
from darkroom.metrics import mean_recall

SWAP_ROUNDS = 4000
FEWEST_GROUPS = 10
"""Independent images (groups) of each class from which on a normal approximation or a bootstrap can be believed."""
_CHUNK_CELLS = 4_000_000
_TINY = 1e-12


@dataclass(frozen=True)
class Difference:
    """First minus second: value, interval, two-sided p-value (uncorrected), the method, and what is missing and why."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    method: str
    reason: str = ""


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve and its standard error; ``share`` float64[N] is what each image adds to it."""

    value: float | None
    error: float | None
    share: np.ndarray
    reason: str = ""


def ranking_columns(classes: int, positive: int | None) -> list[int]:
    """Of which classes the areas are averaged: the positive one of two, each against the rest of more."""
    if classes == 2:
        return [1 if positive is None else positive]
    return list(range(classes))


def roc_area(
    truth: np.ndarray, probabilities: np.ndarray, positive: int | None = None, groups: np.ndarray | None = None
) -> Area:
    """The ROC area (of many classes the mean, one against the rest) with the standard error of DeLong et al. 1988.

    ``truth`` int[N]; ``probabilities`` float[N, C]. Ties count half. The variance is computed from midranks (Sun and
    Xu 2014, doi 10.1109/LSP.2014.2337313). With ``groups`` it is that of Obuchowski 1997 (Biometrics 53:567-578), which
    sums the components of a group before they are squared; groups of one image each give DeLong's.
    """
    count, classes = probabilities.shape
    support = np.bincount(truth, minlength=classes)
    columns = ranking_columns(classes, positive)
    if count == 0 or (support > 0).sum() < 2 or not support[columns].all():
        return Area(None, None, np.zeros(count), "not every class occurs" if count else "no images")
    share, areas = np.zeros(count), []
    for column in columns:
        mine = truth == column
        placed = _placements(mine, probabilities[:, column])
        areas.append(placed[mine].mean())
        share += placed / np.where(mine, mine.sum(), (~mine).sum()) / len(columns)
    value = float(np.mean(areas))
    error, reason = _standard_error(share, truth, classes, groups)
    return Area(value, error, share, reason)


def delong(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    positive: int | None = None,
    groups: np.ndarray | None = None,
    *,
    level: float = 0.95,
) -> Difference:
    """Whether two ROC areas on the same images differ (DeLong, DeLong and Clarke-Pearson 1988, doi 10.2307/2531595).

    ``first`` and ``second`` are float[N, C]. Assumes that groups (images, where there are none) are independent and
    that there are enough of each class for a normal approximation: with fewer than ten there is no p. See ``roc_area``.
    """
    from scipy.stats import norm

    method = "DeLong" if _single(groups) else "DeLong by group (Obuchowski)"
    mine, other = (roc_area(truth, scores, positive, groups) for scores in (first, second))
    if mine.value is None or other.value is None:
        return Difference(None, None, None, None, method, mine.reason)
    value = mine.value - other.value
    share = mine.share - other.share
    if np.abs(share).max() < _TINY:
        return Difference(0.0, 0.0, 0.0, 1.0, method, "both rank every image alike")
    error, reason = _standard_error(share, truth, first.shape[1], groups)
    if error is None:
        return Difference(value, None, None, None, method, reason)
    if error < _TINY:
        return Difference(value, None, None, None, method, "the images do not vary enough to tell its spread")
    reach = float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(value) / error))
    return Difference(value, max(value - reach, -1.0), min(value + reach, 1.0), p, method)


def _placements(mine: np.ndarray, score: np.ndarray) -> np.ndarray:
    """float64[N]: the share of the other side that each image stands on the right side of; ties count half."""
    from scipy.stats import rankdata

    among_all = rankdata(score)
    positives, negatives = int(mine.sum()), int((~mine).sum())
    placed = np.empty(len(score))
    placed[mine] = (among_all[mine] - rankdata(score[mine])) / negatives
    placed[~mine] = 1 - (among_all[~mine] - rankdata(score[~mine])) / positives
    return placed


def _standard_error(
    share: np.ndarray, truth: np.ndarray, classes: int, groups: np.ndarray | None
) -> tuple[float | None, str]:
    """Of a sum of ``share`` over images that were drawn class by class, in whole groups."""
    _, member = np.unique(np.arange(len(truth)) if groups is None else groups, return_inverse=True)
    number = int(member.max()) + 1
    support = np.bincount(truth, minlength=classes)
    centred = share - (np.bincount(truth, share, minlength=classes) / np.maximum(support, 1))[truth]
    cells = member * classes + truth
    total = np.bincount(cells, centred, minlength=number * classes).reshape(number, classes)
    seen = np.bincount(cells, minlength=number * classes).reshape(number, classes) > 0
    fewest = int(seen.sum(0)[support > 0].min())
    if fewest < FEWEST_GROUPS:
        return None, f"a class has {plural(fewest, 'independent image')}; {FEWEST_GROUPS} are needed"
    scale = np.full((classes, classes), number / (number - 1))
    np.fill_diagonal(scale, seen.sum(0) / np.maximum(seen.sum(0) - 1, 1))
    variance = float((total.T @ total * scale).sum())
    return float(np.sqrt(max(variance, 0.0))), ""


def mcnemar(first_right: np.ndarray, second_right: np.ndarray, groups: np.ndarray | None = None) -> Difference:
    """Whether two accuracies on the same images differ: the exact test of McNemar 1947 (doi 10.1007/BF02295996).

    Both arguments are bool[N]. Without groups it is the two-sided binomial test of the images that only one of the
    two has right; no mid-p and no continuity correction, so it errs on the careful side. With ``groups`` each group's
    surplus of right answers is as likely to have either sign if the two are equally good; the exact distribution of
    the sum of those surpluses gives p, which is the binomial one where no group has two images. No interval: it comes
    from the bootstrap.
    """
    from scipy.stats import binom

    method = "McNemar, exact" if _single(groups) else "McNemar by group, exact"
    if len(first_right) == 0:
        return Difference(None, None, None, None, method, "no images")
    surplus = np.asarray(first_right, dtype=np.int64) - np.asarray(second_right, dtype=np.int64)
    value = float(surplus.mean())
    if not surplus.any():
        return Difference(0.0, None, None, 1.0, method, "both are right about the same images")
    if groups is not None:
        _, member = np.unique(groups, return_inverse=True)
        surplus = np.rint(np.bincount(member, surplus)).astype(np.int64)
    sizes = np.bincount(np.abs(surplus))
    # The sum of n surpluses of size s with random signs is s * (2k - n), k binomial: one convolution a size.
    chances, reach = np.ones(1), 0
    for size in range(1, len(sizes)):
        if number := int(sizes[size]):
            step = np.zeros(number * size * 2 + 1)
            step[:: 2 * size] = binom.pmf(np.arange(number + 1), number, 0.5)
            chances, reach = np.convolve(chances, step), reach + number * size
    away = np.abs(np.arange(-reach, reach + 1)) >= abs(int(surplus.sum()))
    return Difference(value, None, None, float(min(1.0, chances[away].sum())), method)


def swap_test(
    metric: str,
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: int,
    groups: np.ndarray | None = None,
    *,
    rounds: int = SWAP_ROUNDS,
    seed: int = 0,
) -> Difference:
    """Whether balanced accuracies or macro F1 of two sets of labels int[N] differ: an approximate randomisation test.

    If the two classifiers are equally good, it does not matter which of them gave a group's answers: those of each
    group are exchanged at random, and p is the share of exchanges that differ as much (Noreen 1989; Yeh 2000, arXiv
    cs/0008005), the real one counted. Valid for few images too: three can never give a small p. No interval.
    """
    method = "randomisation" if _single(groups) else "randomisation by group"
    support = np.bincount(truth, minlength=classes)
    if not support.all():
        return Difference(None, None, None, None, method, "not every class occurs" if len(truth) else "no images")
    counts = np.stack([_label_counts(truth, labels, classes) for labels in (first, second)])
    value = float(_of_counts(metric, counts[0], support) - _of_counts(metric, counts[1], support))
    apart = np.flatnonzero(first != second)
    if len(apart) == 0:
        return Difference(0.0, None, None, 1.0, method, "both say the same about every image")
    _, member = np.unique(apart if groups is None else np.asarray(groups)[apart], return_inverse=True)
    change = np.zeros((int(member.max()) + 1, 2 * classes))
    for sign, labels in ((1, first), (-1, second)):
        hit = labels[apart] == truth[apart]
        np.add.at(change, (member[hit], truth[apart][hit]), sign)
        np.add.at(change, (member, classes + labels[apart]), sign)
    rng = np.random.default_rng(seed)
    extreme, step = 0, max(1, _CHUNK_CELLS // len(change))
    for start in range(0, rounds, step):
        swapped = rng.integers(0, 2, (min(step, rounds - start), len(change))) @ change
        found = _of_counts(metric, counts[0] - swapped, support) - _of_counts(metric, counts[1] + swapped, support)
        extreme += int((np.abs(found) >= abs(value) - _TINY).sum())
    return Difference(value, None, None, (1 + extreme) / (1 + rounds), method)


def _label_counts(truth: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """float64[2C]: of each class how many were right, then how many were named."""
    right = np.bincount(truth[labels == truth], minlength=classes)
    return np.concatenate([right, np.bincount(labels, minlength=classes)]).astype(np.float64)


def _of_counts(metric: str, counts: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The metric of one or many [..., 2C] label counts."""
    hits, named = np.split(counts, 2, axis=-1)
    if metric == "macro_f1":
        return np.asarray((2 * hits / (support + named)).mean(-1))
    return mean_recall(hits, np.broadcast_to(support, hits.shape))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for having been looked at together (Holm 1979); the undefined stay None and are not counted.

    The chance that any of the differences called real at ``p < 0.05`` is not, is then at most 5 %.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[Any] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[place] = highest
    return corrected


def wilson_interval(hits: int, count: int, *, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of a share of independent cases (Wilson 1927); never of width zero. None without cases."""
    from scipy.stats import norm

    if count == 0:
        return None
    z = float(norm.ppf((1 + level) / 2))
    centre = (hits + z * z / 2) / (count + z * z)
    reach = z * np.sqrt(hits * (count - hits) / count + z * z / 4) / (count + z * z)
    return max(0.0, float(centre - reach)), min(1.0, float(centre + reach))


def _single(groups: np.ndarray | None) -> bool:
    """Whether no group has two images."""
    return groups is None or len(np.unique(groups)) == len(groups)
