"""Thresholds for a stated aim: reached on val with as little loss as can be, or said not to be."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from darkroom.errors import InvalidRequest
from darkroom.metrics import choose_threshold, predict_labels
from darkroom.thresholds import BalancedAccuracyAim, RecallAim, ThresholdAim, check_aim, find_threshold

pytestmark = pytest.mark.unit

NAMES = ("NORMAL", "SICK")


def case(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    chance = 1 / (1 + np.exp(-(2.4 * truth - 1.2 + rng.normal(size=count))))
    return truth, np.stack([1 - chance, chance], axis=1).astype(np.float32)


def recalls(truth: np.ndarray, probabilities: np.ndarray, positive: int, threshold: float) -> np.ndarray:
    said = predict_labels(probabilities, positive, threshold)
    return np.array([(said[truth == k] == k).mean() for k in (0, 1)])


@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("positive", [0, 1])
def it_reaches_the_recall_and_gives_away_no_more_than_it_must(wanted: int, positive: int) -> None:
    truth, probabilities = case()
    aim = RecallAim(aim="recall", of=NAMES[wanted], at_least=0.95)
    found = find_threshold(aim, truth, probabilities, NAMES, positive)
    mine = recalls(truth, probabilities, positive, found.value)
    assert found.reached
    assert 0.95 <= mine[wanted] < 0.96
    every = [recalls(truth, probabilities, positive, t) for t in np.unique(probabilities[:, positive])]
    assert mine[1 - wanted] == max(one[1 - wanted] for one in every if one[wanted] >= 0.95)
    assert "at least 0.95" in found.note


def it_chooses_as_before_for_balanced_accuracy() -> None:
    truth, probabilities = case()
    found = find_threshold(BalancedAccuracyAim(), truth, probabilities, NAMES, 1)
    assert found.value == choose_threshold(truth == 1, probabilities[:, 1])


def it_says_what_cannot_be_reached_and_takes_the_nearest() -> None:
    truth = np.arange(20) % 2
    probabilities = np.tile([0.0, 1.0], (20, 1))  # SICK for certain, whatever it sees
    probabilities[0] = [0.3, 0.7]
    aim = RecallAim(aim="recall", of="NORMAL", at_least=0.9)
    found = find_threshold(aim, truth, probabilities, NAMES, 1)
    assert not found.reached
    assert recalls(truth, probabilities, 1, found.value)[0] == pytest.approx(0.1)
    assert "as near as can be to 0.9: it is 0.100" in found.note
    every = find_threshold(RecallAim(aim="recall", of="SICK", at_least=1), truth, 1 - probabilities, NAMES, 1)
    assert every.reached
    assert "Nothing is called NORMAL any more" in every.note
    absent = find_threshold(aim, np.ones(5, dtype=np.int64), probabilities[:5], NAMES, 1)
    assert (absent.value, absent.reached) == (0.5, False)
    assert "no image of NORMAL" in absent.note


def it_refuses_an_aim_that_the_classes_do_not_allow() -> None:
    aim = RecallAim(aim="recall", of="SICK", at_least=0.95)
    check_aim(aim, NAMES, "cnn")
    check_aim(BalancedAccuracyAim(), ("a", "b", "c"), "cnn")
    with pytest.raises(InvalidRequest, match="there are 3 classes"):
        check_aim(aim, ("NORMAL", "SICK", "VIRAL"), "cnn")
    with pytest.raises(InvalidRequest, match="one of a, b"):
        check_aim(aim, ("a", "b"), "cnn")


@pytest.mark.parametrize(
    "wrong", [{"aim": "recall"}, {"aim": "recall", "of": "a", "at_least": 1.2}, {"aim": "luck"}, {"at_least": 0.9}]
)
def it_knows_no_other_aims(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TypeAdapter(ThresholdAim).validate_python(wrong)
