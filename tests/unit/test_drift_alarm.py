"""Alarms over days, and performance once true labels arrive."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.drift import AlarmPolicy, compare_performance, judge
from darkroom.errors import DataError
from tests.drifting import CLASSES, reference_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("days", "raised"),
    [
        ([], False),
        ([None], False),
        ([0.0001, None], False),
        ([0.5], False),
        ([0.01], False),
        ([0.001], True),
        ([0.5, 0.0005], True),
        ([0.01, 0.01], True),
        ([0.01, 0.02], False),
        ([0.01, None, 0.01], True),
        ([0.01, 0.5, 0.01], False),
        ([0.0001, 0.5], False),
        ([0.0001, 0.01], True),
    ],
)
def it_raises_an_alarm_on_one_clear_day_or_two_unusual_ones(days: list[float | None], raised: bool) -> None:
    assert judge(days).raised is raised
    assert judge(days).said


def it_keeps_to_its_share_of_false_alarms() -> None:
    policy = AlarmPolicy(single=0.004, twice=0.03)
    p = np.random.default_rng(0).random(20_000)
    share = np.mean([judge(p[max(0, day - 1) : day + 1].tolist(), policy).raised for day in range(len(p))])
    assert share == pytest.approx(policy.single + policy.twice**2, rel=0.25)


def it_compares_late_labels_with_validation() -> None:
    reference = reference_of()  # where every prediction was right
    rng = np.random.default_rng(0)
    truth = rng.choice(CLASSES, 300)
    wrong = np.where(truth == CLASSES[0], *CLASSES[::-1])
    good = compare_performance(reference, truth, truth, CLASSES)
    assert (good.value, good.reference, good.worse) == (1.0, 1.0, False)
    bad = compare_performance(reference, truth, np.where(rng.random(300) < 0.3, wrong, truth), CLASSES)
    assert bad.worse
    assert bad.interval[0] < bad.value < bad.interval[1] < 0.85
    assert bad.difference[1] < 0
    assert "worse than the 1.000 on validation" in bad.said
    grouped = compare_performance(reference, truth, np.where(truth == "NORMAL", *CLASSES), CLASSES, ["one"] * 300)
    assert grouped.value == 1.0


def it_says_when_there_is_too_little_to_compare() -> None:
    few = compare_performance(reference_of(), ["NORMAL"] * 5, ["NORMAL"] * 5, CLASSES)
    assert (few.value, few.worse) == (None, False)
    alone = compare_performance(None, ["NORMAL"] * 50, ["PNEUMONIA"] * 50, CLASSES)
    assert (alone.value, alone.difference, alone.worse) == (0.0, None, False)
    one = compare_performance(reference_of(), ["NORMAL"] * 50, ["NORMAL"] * 50, CLASSES)
    assert (one.value, one.reference, one.worse) == (1.0, 1.0, False)
    with pytest.raises(DataError, match="TUMOUR"):
        compare_performance(None, ["TUMOUR"] * 50, ["NORMAL"] * 50, CLASSES)
