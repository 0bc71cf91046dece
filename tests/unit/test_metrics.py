"""Metrics: right on easy cases, equal to scikit-learn's, and never a silent NaN."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as reference

from darkroom.errors import DataError
from darkroom.metrics import choose_threshold, flat_metrics, interval, predict_labels, resampled_counts, score

pytestmark = pytest.mark.unit


def random_case(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    margins = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[truth]
    shares = np.exp(margins)
    return truth, shares / shares.sum(1, keepdims=True)


def it_agrees_with_scikit_learn_on_two_classes() -> None:
    truth, probabilities = random_case(500, 2)
    found = score(truth, probabilities, ["a", "b"], "b", 0.4)
    said = (probabilities[:, 1] >= 0.4).astype(int)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, said))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(truth, probabilities[:, 1]))
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(truth, probabilities[:, 1]))
    assert found["log_loss"] == pytest.approx(reference.log_loss(truth, probabilities))
    assert found["recall"]["a"] == pytest.approx(reference.recall_score(truth, said, pos_label=0))
    assert found["confusion"] == reference.confusion_matrix(truth, said).tolist()


def it_agrees_with_scikit_learn_on_many_classes() -> None:
    truth, probabilities = random_case(600, 4)
    found = score(truth, probabilities, list("abcd"))
    said = probabilities.argmax(1)
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, said, average="macro"))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert found["precision"]["c"] == pytest.approx(reference.precision_score(truth, said, average=None)[2])


@pytest.mark.parametrize("truth", [[1, 1, 1], []])
def it_says_why_a_metric_is_not_defined(truth: list[int]) -> None:
    probabilities = np.tile([0.2, 0.8], (len(truth), 1))
    found = score(np.array(truth), probabilities, ["a", "b"], "b", 0.5)
    for metric in ("balanced_accuracy", "macro_f1", "roc_auc", "pr_auc"):
        assert found[metric] is None
        assert found["undefined"][metric]
    assert not [value for value in flat_metrics(found).values() if not np.isfinite(value)]


def it_refuses_what_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="shape"):
        score(np.array([0, 1]), np.zeros((3, 2)), ["a", "b"])
    with pytest.raises(DataError, match="not finite"):
        score(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, 0.5]]), ["a", "b"])


def it_calls_an_image_positive_exactly_from_the_threshold_on() -> None:
    probabilities = np.array([[0.7, 0.3], [0.69, 0.31], [0.71, 0.29]])
    assert predict_labels(probabilities, 1, 0.3).tolist() == [1, 1, 0]
    assert predict_labels(probabilities, 0, 0.7).tolist() == [0, 1, 0]
    assert predict_labels(probabilities, None, None).tolist() == [0, 0, 0]


def it_measures_the_labels_that_were_said() -> None:
    truth, probabilities = np.array([0, 0, 1, 1]), np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    said = np.array([0, 1, 1, 1])  # as several models did, each with a threshold of its own
    found = score(truth, probabilities, ["a", "b"], "b", predicted=said)
    assert found["confusion"] == [[1, 1], [0, 2]]
    assert found["accuracy"] == 0.75
    assert found["ece"] == pytest.approx(abs(0.8 - 1) / 4 + abs(0.3 - 0) / 4 + abs(0.4 - 1) / 4 + abs(0.9 - 1) / 4)
    assert found["roc_auc"] == score(truth, probabilities, ["a", "b"], "b", 0.5)["roc_auc"]


def it_finds_a_threshold_where_the_classes_part() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 4 > 0
    chance = np.where(truth, rng.uniform(0.8, 0.99, 400), rng.uniform(0.5, 0.79, 400))
    assert 0.75 < choose_threshold(truth, chance) < 0.81


def it_stays_at_a_half_where_val_gives_no_reason_to_move() -> None:
    truth = np.array([False] * 10 + [True] * 30)
    values = np.where(truth, 0.9, 0.1)
    values[12] = 0.45  # one positive below a half: moving the cut for it is chance
    assert choose_threshold(truth, values) == pytest.approx(0.5)
    assert choose_threshold(np.ones(5, dtype=bool), np.linspace(0, 1, 5)) == 0.5


def it_is_no_surer_of_a_threshold_for_seeing_images_again() -> None:
    truth = np.array([False] * 10 + [True] * 30)
    values = np.where(truth, 0.9, 0.1)
    values[12:14] = 0.45
    once = choose_threshold(truth, values)
    assert choose_threshold(np.tile(truth, 20), np.tile(values, 20), looks=20) == pytest.approx(once) == 0.5
    assert choose_threshold(np.tile(truth, 20), np.tile(values, 20)) < 0.45


def it_never_cuts_between_equal_probabilities() -> None:
    truth = np.array([True, False] * 50)
    values = np.full(100, 0.7)
    threshold = choose_threshold(truth, values)
    assert 0 <= threshold <= 1


def it_covers_the_true_value_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = np.arange(200) % 2
        said = np.where(rng.random(200) < 0.8, truth, 1 - truth)
        low, high = interval(truth, said, 2, rounds=400, seed=seed) or (1, 0)
        covered += low <= 0.8 <= high
    assert 0.90 <= covered / 200 <= 0.99


def it_is_less_sure_when_images_come_in_groups() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(60) % 2, 10)
    right = np.repeat(rng.random(60) < 0.8, 10)
    said = np.where(right, truth, 1 - truth)
    alone = interval(truth, said, 2)
    grouped = interval(truth, said, 2, np.repeat(np.arange(60), 10))
    assert alone
    assert grouped
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def it_draws_resamples_of_the_same_size_and_repeatably() -> None:
    cells = np.array([0, 0, 1, 2, 2, 2])
    drawn = resampled_counts(cells, 3, rounds=300, seed=1)
    assert (drawn.sum(1) == 6).all()
    assert (drawn == resampled_counts(cells, 3, rounds=300, seed=1)).all()
    assert drawn.mean(0) == pytest.approx([2, 1, 3], abs=0.2)


def it_resamples_ten_thousand_grouped_images_in_two_seconds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 10_000)
    said = np.where(rng.random(10_000) < 0.9, truth, 1 - truth)
    began = time.process_time()
    interval(truth, said, 2, rng.integers(0, 4_000, 10_000))
    assert time.process_time() - began < 2
