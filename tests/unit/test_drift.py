"""The check of a day: calm on undrifted days, loud on drifted ones, and plain about what it cannot judge."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from darkroom.drift import Images, Reference, calibrate, check
from darkroom.drift.check import MAX_IMAGES
from tests.drifting import brighter, day_of, measured, reference_of

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of()


def it_gives_uniform_p_values_on_undrifted_days() -> None:
    values = []
    for seed in range(150):  # one reference is one draw: what is uniform is uniform over references
        one = reference_of(seed=seed)
        drawn = calibrate(one, 200, rounds=2000)
        values += [check(one, day_of(one, 100 * seed + day), calibration=drawn).p for day in range(2)]
    p = np.array(values, dtype=float)
    for share in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert abs((p <= share).mean() - share) < 3.5 * np.sqrt(share * (1 - share) / 150), share
    assert (p <= 0.005).mean() <= 0.02


def it_stays_quiet_on_days_larger_than_the_reference() -> None:
    values = []
    for seed in range(20):
        one = reference_of(120, seed=seed)
        values.append(check(one, day_of(one, seed, count=1500), calibration=calibrate(one, 1500, rounds=1000)).p)
    assert 0.2 < np.median(np.array(values, dtype=float)) < 0.8
    assert np.mean(np.array(values, dtype=float) <= 0.05) <= 0.25


@pytest.mark.parametrize(
    ("drifted", "signal"),
    [
        (lambda one: day_of(one, 1, shift=0.4), "embedding"),
        (lambda one: day_of(one, 1, normal=0.6), "label"),
        (lambda one: brighter(day_of(one, 1), 15), "brightness"),
        (lambda one: brighter(day_of(one, 1), -15), "brightness"),
        (lambda one: replace(day_of(one, 1), mode=np.full(200, "RGB")), "mode"),
        (lambda one: _column(day_of(one, 1), 4, 225.0), "width"),
        (lambda one: _column(day_of(one, 1), 3, 250.0), "brightest"),
        (lambda one: replace(day_of(one, 1), score=day_of(one, 1).score * 0.9), "score"),
    ],
)
def it_finds_a_strong_drift_and_names_it(reference: Reference, drifted, signal: str) -> None:
    report = check(reference, drifted(reference))
    assert report.state == "checked"
    assert report.p is not None
    assert report.p < 0.003
    worst = min(report.signals, key=lambda found: (found.corrected, found.usual / max(found.statistic, 1e-30)))
    assert worst.name == signal
    assert signal in report.said
    assert worst.p <= worst.corrected


def _column(images: Images, column: int, value: float) -> Images:
    numbers = images.numbers.copy()
    numbers[:, column] = value
    return replace(images, numbers=numbers)


def it_takes_one_odd_image_for_no_drift(reference: Reference) -> None:
    calm = day_of(reference, 2)
    before = check(reference, calm).p
    odd = calm.numbers.copy()
    odd[0] = [250, 1, 249, 251, 4000, 3000, 9e6]
    mode = np.array(["RGBA", *calm.mode[1:]])
    after = check(reference, replace(calm, numbers=odd, mode=mode)).p
    assert before is not None
    assert after is not None
    assert after > 0.05
    many = replace(calm, mode=np.array(["RGBA"] * 20 + ["L"] * 180))
    assert check(reference, many).p < 0.005


def it_says_the_same_a_second_time_and_in_any_order(reference: Reference) -> None:
    day = day_of(reference, 3, shift=0.1)
    first = check(reference, day)
    assert check(reference, day).as_dict() == first.as_dict()
    turned = check(reference, day.take(np.arange(len(day))[::-1]))
    assert turned.p == first.p
    assert [unlike.image_id for unlike in turned.unlike] == [unlike.image_id for unlike in first.unlike]
    assert check(Reference.from_bytes(reference.to_bytes()), day).as_dict() == first.as_dict()


def it_names_the_images_most_unlike_the_reference(reference: Reference) -> None:
    calm = day_of(reference, 4)
    features = np.array(calm.features)
    features[17] += 3
    numbers = calm.numbers.copy()
    numbers[42, 0] = 255
    report = check(reference, replace(calm, features=features, numbers=numbers))
    first = {unlike.image_id: unlike.by for unlike in report.unlike[:2]}
    assert first == {calm.ids[17]: "embedding", calm.ids[42]: "measurements"}
    assert report.unlike[0].rank == 1
    assert report.unlike[0].distance > 1.2
    assert [far.distance for far in report.unlike] == sorted((far.distance for far in report.unlike), reverse=True)


def it_is_silent_without_a_reference() -> None:
    images, _ = measured(200, 1)
    report = check(None, images)
    assert (report.state, report.p, report.signals) == ("no reference", None, ())
    assert "train again" in report.said


@pytest.mark.parametrize("count", [0, 1, 19])
def it_is_silent_about_a_small_day(reference: Reference, count: int) -> None:
    report = check(reference, day_of(reference, 5, count=count, shift=9.0))
    assert (report.state, report.p, report.images) == ("too few images", None, count)


def it_is_silent_with_a_small_reference() -> None:
    small = reference_of(40)
    assert check(small, day_of(small, 1, shift=9.0)).state == "small reference"


def it_counts_an_image_once_and_leaves_out_what_is_not_finite(reference: Reference) -> None:
    day = day_of(reference, 6)
    again = day.take(np.concatenate([np.arange(200), np.zeros(500, dtype=int)]))
    report = check(reference, again, unreadable=3)
    assert report.left_out == {"unreadable": 3, "repeated": 500}
    assert report.p == check(reference, day).p
    broken = day.numbers.copy()
    broken[:5, 0] = np.nan
    score = day.score.copy()
    score[5:8] = np.inf
    report = check(reference, replace(day, numbers=broken, score=score))
    assert report.left_out == {"not finite": 8}
    assert report.images == 192
    nothing = check(reference, replace(day, score=np.full(200, np.nan, np.float32)))
    assert (nothing.state, nothing.images) == ("too few images", 0)


def it_skips_what_one_side_does_not_know(reference: Reference) -> None:
    day = day_of(reference, 8)
    report = check(reference, day.without_features())
    assert report.skipped == {"embedding": "the day's rows hold no embedding"}
    assert report.state == "checked"
    assert "embedding" not in [signal.name for signal in report.signals]
    report = check(reference, replace(day, features=day.features[:, :8]))
    assert "another model" in report.skipped["embedding"]
    report = check(reference, _column(day, 4, np.nan))
    assert set(report.skipped) == {"width"}
    assert report.images == 200
    images, _ = measured(400, 0)
    numbers = images.numbers.copy()
    numbers[:, :] = np.nan
    blind = reference_of(numbers=numbers, mode=np.full(400, ""))
    report = check(blind, day)
    assert [signal.name for signal in report.signals] == ["embedding", "score", "label"]
    assert len(report.skipped) == 8


def it_takes_a_bounded_part_of_a_large_day_in_little_time(reference: Reference) -> None:
    started = time.process_time()
    report = check(reference, day_of(reference, 9, count=200))
    assert time.process_time() - started < 2
    started = time.process_time()
    report = check(reference, day_of(reference, 9, count=10_000))
    assert time.process_time() - started < 6
    assert report.images == MAX_IMAGES
    assert report.left_out == {"beyond 2,000": 10_000 - MAX_IMAGES}
