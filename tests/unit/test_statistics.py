"""Tests of differences: equal to their definitions, honest on few images, and right about how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from darkroom.statistics import delong, holm, mcnemar, roc_area, swap_test, wilson_interval

pytestmark = pytest.mark.unit


def two_columns(score: np.ndarray) -> np.ndarray:
    return np.stack([1 - score, score], axis=1)


def correlated_case(count: int, seed: int, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and two models' probabilities that share much of their noise."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(count) % 3 == 0).astype(np.int64)
    shared = rng.normal(size=count)
    scores = [truth * (1.2 + more) + shared + 0.7 * rng.normal(size=count) for more in (gain, 0.0)]
    first, second = (two_columns(1 / (1 + np.exp(-score))) for score in scores)
    return truth, first, second


def delong_as_written(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and standard error from the kernel of DeLong et al. 1988, equations 3 to 6, image by image."""
    positives, negatives = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    kernels = []
    for scores in (first[:, 1], second[:, 1]):
        gap = scores[positives][:, None] - scores[negatives][None, :]
        kernels.append((gap > 0) + 0.5 * (gap == 0))
    ten, one = ([kernel.mean(axis) for kernel in kernels] for axis in (1, 0))
    covariance = np.cov(ten) / len(positives) + np.cov(one) / len(negatives)
    difference = kernels[0].mean() - kernels[1].mean()
    return float(difference), float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))


def it_is_delongs_test_as_it_was_published() -> None:
    truth, first, second = correlated_case(150, 3, 0.6)
    first = np.round(first, 1)  # many ties
    value, error = delong_as_written(truth, first, second)
    found = delong(truth, first, second, 1)
    assert found.method == "DeLong"
    assert found.value == pytest.approx(value)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * error)
    assert delong(truth, second, first, 1).p == pytest.approx(found.p)
    assert delong(truth, first, second, 1, np.arange(150)) == found  # groups of one image


def it_has_the_spread_of_a_bootstrap() -> None:
    truth, first, second = correlated_case(600, 1, 0.3)
    found = delong(truth, first, second, 1)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(800):
        rows = rng.integers(0, 600, 600)
        drawn.append(delong_areas(truth[rows], first[rows]) - delong_areas(truth[rows], second[rows]))
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.12)


def delong_areas(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return roc_area(truth, probabilities, 1).value or 0.0


def it_errs_as_often_as_it_says() -> None:
    said = [(delong(*correlated_case(120, seed), 1).p or 0) < 0.05 for seed in range(400)]
    assert 0.02 <= np.mean(said) <= 0.085
    seen = [(delong(*correlated_case(120, seed, 1.0), 1).p or 1) < 0.05 for seed in range(60)]
    assert np.mean(seen) > 0.8


def it_knows_that_images_of_a_patient_are_no_new_evidence() -> None:
    truth, first, second = correlated_case(90, 5, 0.5)
    alone = delong(truth, first, second, 1)
    often, mine, other = (np.repeat(part, 8, axis=0) for part in (truth, first, second))
    fooled = delong(often, mine, other, 1)
    grouped = delong(often, mine, other, 1, np.repeat(np.arange(90), 8))
    assert grouped.method == "DeLong by group (Obuchowski)"
    assert grouped.p == pytest.approx(alone.p)
    assert fooled.p is not None
    assert alone.p is not None
    assert fooled.p < alone.p / 10


def it_compares_areas_of_many_classes() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    first, second = (np.exp(rng.normal(size=(400, 4)) + gain * np.eye(4)[truth]) for gain in (1.4, 0.8))
    first, second = (part / part.sum(1, keepdims=True) for part in (first, second))
    found = delong(truth, first, second)
    areas = [roc_auc_score(truth, part, multi_class="ovr") for part in (first, second)]
    assert found.value == pytest.approx(areas[0] - areas[1])
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, 400, 400)
        mine, other = (roc_area(truth[rows], part[rows]).value or 0 for part in (first, second))
        drawn.append(mine - other)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.15)


def it_gives_a_reason_instead_of_a_number_that_means_nothing() -> None:
    score = two_columns(np.array([0.1, 0.2, 0.9]))
    one_class = delong(np.ones(3, dtype=np.int64), score, score[::-1], 1)
    assert (one_class.p, one_class.reason) == (None, "not every class occurs")
    one_positive = delong(np.array([0, 0, 1]), score, score[::-1], 1)
    assert one_positive.value == 1.0
    assert one_positive.p is None
    assert one_positive.reason == "a class has 1 independent image; 10 are needed"
    constant = two_columns(np.full(20, 0.5))
    truth = np.arange(20) % 2
    flat = delong(truth, constant, constant, 1)
    assert (flat.value, flat.p, flat.reason) == (0.0, 1.0, "both rank every image alike")
    perfect = delong(truth, two_columns(truth.astype(float)), constant, 1)
    assert perfect.value == 0.5
    assert perfect.p is None
    assert perfect.reason
    assert delong(np.array([], dtype=np.int64), np.zeros((0, 2)), np.zeros((0, 2)), 1).reason == "no images"


def it_is_mcnemars_exact_test() -> None:
    first = np.array([True] * 50 + [True] * 9 + [False] * 2 + [False] * 10)
    second = np.array([True] * 50 + [False] * 9 + [True] * 2 + [False] * 10)
    found = mcnemar(first, second)
    assert found.method == "McNemar, exact"
    assert found.p == pytest.approx(binomtest(2, 11).pvalue)
    assert found.value == pytest.approx(7 / 71)
    assert mcnemar(first, second, np.arange(71)).p == pytest.approx(found.p)
    assert mcnemar(first, first).reason == "both are right about the same images"
    assert mcnemar(first[:0], second[:0]).p is None


def it_counts_patients_and_not_images_in_mcnemars_test() -> None:
    first, second = np.repeat([True, True, True, False], 10), np.repeat([False, False, True, True], 10)
    assert (mcnemar(first, second).p or 0) == pytest.approx(binomtest(10, 30).pvalue)
    assert (mcnemar(first, second, np.repeat(np.arange(4), 10)).p or 0) == pytest.approx(1.0)
    # Surpluses of 2, 1 and -1: of the eight sums of signs, the four of at least 2 in size are as extreme.
    groups = np.array([0, 0, 1, 2])
    assert mcnemar(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]), groups).p == pytest.approx(6 / 8)


def it_never_calls_three_images_a_proof() -> None:
    truth = np.array([0, 1, 1])
    found = swap_test("balanced_accuracy", truth, truth, 1 - truth, 2)
    assert found.value == 1.0
    assert found.p == pytest.approx(0.25, abs=0.03)
    assert swap_test("macro_f1", truth, truth, truth, 2).p == 1.0
    assert swap_test("macro_f1", np.ones(3, dtype=np.int64), truth, truth, 2).reason == "not every class occurs"


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
def it_measures_what_it_swaps_and_errs_as_often_as_it_says(metric: str) -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    measure = {"balanced_accuracy": balanced_accuracy_score, "macro_f1": lambda t, p: f1_score(t, p, average="macro")}
    wrong = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = np.arange(90) % 3
        first, second = (np.where(rng.random(90) < 0.75, truth, rng.integers(0, 3, 90)) for _ in "ab")
        found = swap_test(metric, truth, first, second, 3, rounds=400, seed=seed)
        assert found.value == pytest.approx(measure[metric](truth, first) - measure[metric](truth, second))
        wrong += (found.p or 0) < 0.05
    assert wrong / 200 <= 0.085


def it_swaps_whole_groups() -> None:
    truth = np.repeat([0, 1], 40)
    better = np.where(np.arange(80) % 40 < 36, truth, 1 - truth)
    worse = np.where(np.arange(80) % 40 < 20, truth, 1 - truth)
    alone = swap_test("balanced_accuracy", truth, better, worse, 2)
    grouped = swap_test("balanced_accuracy", truth, better, worse, 2, np.arange(80) // 20)
    assert alone.p is not None
    assert grouped.p is not None
    assert alone.p < 0.001
    assert grouped.p > 0.2


def it_corrects_several_p_values_as_holm_did() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def it_gives_a_share_an_interval_that_is_never_a_point() -> None:
    assert wilson_interval(0, 0) is None
    low, high = wilson_interval(30, 30) or (0, 0)
    assert (low, high) == pytest.approx((0.8865, 1.0), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
