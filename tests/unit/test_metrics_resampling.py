"""One bootstrap for every metric: each is scikit-learn's on the drawn images, paired, in groups, and in time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as reference

from darkroom.metrics import score
from darkroom.resampling import RESAMPLED, Answers, bootstrap_p, interval_of, resampled_metrics, rounds_for

pytestmark = pytest.mark.unit


def case(count: int, classes: int, seed: int = 0, gain: float = 1.5) -> tuple[np.ndarray, Answers]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    shares = np.exp(np.round(rng.normal(size=(count, classes)), 1) + gain * np.eye(classes)[truth])
    shares /= shares.sum(1, keepdims=True)
    return truth, Answers(shares, shares.argmax(1))


@pytest.mark.parametrize("classes", [2, 4])
def it_measures_each_resample_as_scikit_learn_does(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom import resampling

    truth, answers = case(120, classes)
    positive = 1 if classes == 2 else None
    rows = np.random.default_rng(3).integers(0, 120, (6, 120))
    weights = np.stack([np.bincount(row, minlength=120) for row in rows]).astype(np.float32)
    monkeypatch.setattr(resampling, "_draws", lambda *_: iter([weights[:4], weights[4:]]))
    found = resampled_metrics(truth, {"a": answers}, positive)["a"]
    names = list("abcd")[:classes]
    for k, row in enumerate(rows):
        drawn = score(truth[row], answers.probabilities[row], names, names[1] if positive else None)
        for metric in RESAMPLED:
            assert found[metric][k] == pytest.approx(drawn[metric], abs=1e-5), metric


def it_pairs_the_models_and_repeats_itself() -> None:
    truth, answers = case(200, 3)
    found = resampled_metrics(truth, {"a": answers, "b": answers}, rounds=50, seed=4)
    for metric in RESAMPLED:
        assert (found["a"][metric] == found["b"][metric]).all()
        assert (found["a"][metric] == resampled_metrics(truth, {"x": answers}, rounds=50, seed=4)["x"][metric]).all()


def it_draws_whole_groups() -> None:
    truth, answers = case(40, 2)
    again = Answers(np.repeat(answers.probabilities, 6, axis=0), np.repeat(answers.labels, 6))
    groups = np.repeat(np.arange(40), 6)
    alone, fooled, grouped = (
        interval_of(resampled_metrics(t, {"a": one}, 1, g)["a"]["roc_auc"])
        for t, one, g in [
            (truth, answers, None),
            (np.repeat(truth, 6), again, None),
            (np.repeat(truth, 6), again, groups),
        ]
    )
    assert alone
    assert fooled
    assert grouped
    assert fooled[1] - fooled[0] < 0.6 * (alone[1] - alone[0])
    assert grouped[1] - grouped[0] == pytest.approx(alone[1] - alone[0], rel=0.25)


def it_covers_the_true_area_about_as_often_as_it_says() -> None:
    big_truth, big = case(200_000, 2, seed=99)
    true = reference.roc_auc_score(big_truth, big.probabilities[:, 1])
    covered = 0
    for seed in range(150):
        truth, answers = case(150, 2, seed)
        low, high = interval_of(resampled_metrics(truth, {"a": answers}, 1, rounds=300)["a"]["roc_auc"]) or (1, 0)
        covered += low <= true <= high
    assert 0.89 <= covered / 150 <= 0.99


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 1, 1]])
def it_gives_no_interval_where_resamples_lack_a_class(truth: list[int]) -> None:
    probabilities = np.full((3, 2), 0.5)
    answers = Answers(probabilities, np.ones(3, dtype=np.int64))
    found = resampled_metrics(np.array(truth), {"a": answers}, 1)["a"]
    for metric in ("balanced_accuracy", "macro_f1", "roc_auc", "pr_auc"):
        assert interval_of(found[metric]) is None
        assert bootstrap_p(found[metric] - found[metric]) is None
    assert interval_of(found["log_loss"]) == pytest.approx((np.log(2), np.log(2)))


def it_moves_the_interval_of_a_calibration_error_to_its_value() -> None:
    truth, answers = case(100, 2, 5)
    values = resampled_metrics(truth, {"a": answers}, 1)["a"]["ece"]
    value = score(truth, answers.probabilities, ["a", "b"], "b")["ece"]
    assert np.median(values) > value  # which is why
    low, high = interval_of(values, around=value) or (1, 0)
    assert 0 <= low < value < high
    assert interval_of(values, around=0.0) == pytest.approx((0.0, np.quantile(values, 0.975) - np.median(values)))


def it_tells_a_difference_from_none() -> None:
    truth, good = case(300, 2, 1, 2.5)
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(size=(300, 2)))
    bad = Answers(noise / noise.sum(1, keepdims=True), noise.argmax(1))
    found = resampled_metrics(truth, {"good": good, "bad": bad}, 1)
    assert (bootstrap_p(found["good"]["pr_auc"] - found["bad"]["pr_auc"]) or 1) < 0.01
    assert bootstrap_p(found["good"]["pr_auc"] - found["good"]["pr_auc"]) == 1.0


def it_takes_seconds_for_ten_thousand_images_in_groups() -> None:
    truth, answers = case(10_000, 2)
    groups = np.random.default_rng(0).integers(0, 4_000, 10_000)
    began = time.process_time()
    resampled_metrics(truth, {"a": answers}, 1, groups, rounds=400)
    assert time.process_time() - began < 3
    assert rounds_for(200) == 1000
    assert rounds_for(10_000, 10) == 500
    assert rounds_for(10_000_000) == 300
