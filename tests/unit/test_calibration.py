"""The temperature: found where there is one, left alone where val cannot tell, and never a change of order."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.calibration import BOUNDS, calibrated, fit_temperature, reliability, without_temperature
from darkroom.metrics import calibration_error, score

pytestmark = pytest.mark.unit


def case(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature); what the model says is softmax(logits)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(count, classes))
    said, true = (np.exp(logits / t) for t in (1.0, temperature))
    said, true = (part / part.sum(1, keepdims=True) for part in (said, true))
    return (true.cumsum(1) < rng.random(count)[:, None]).sum(1).clip(0, classes - 1), said


@pytest.mark.parametrize(("classes", "true"), [(2, 2.5), (2, 0.6), (5, 2.0)])
def it_finds_the_temperature_that_the_labels_were_drawn_with(classes: int, true: float) -> None:
    truth, said = case(4000, classes, true)
    found = fit_temperature(truth, said)
    assert found.value == pytest.approx(true, rel=0.1)
    assert found.loss_before is not None
    assert found.loss_after is not None
    assert found.loss_after < found.loss_before
    again, fresh = case(4000, classes, true, seed=1)
    names = list("abcde")[:classes]
    before, after = (score(again, part, names, None)["ece"] for part in (fresh, calibrated(fresh, found.value)))
    assert after < before / 2


def it_leaves_a_calibrated_model_alone_nineteen_times_in_twenty() -> None:
    moved = sum(fit_temperature(*case(100, 2, 1.0, seed)).value != 1.0 for seed in range(200))
    assert moved <= 20


def it_does_not_grow_sure_without_end_where_every_image_is_right() -> None:
    truth = np.arange(100) % 2
    unsure = np.where(np.eye(2)[truth] > 0, 0.8, 0.2)
    found = fit_temperature(truth, unsure)
    assert BOUNDS[0] * 2 < found.value < 1
    assert 0.9 < calibrated(unsure, found.value).max() <= 51 / 52 + 1e-3
    sure = np.where(np.eye(2)[truth] > 0, 1.0, 0.0)
    assert fit_temperature(truth, sure).value == 1.0


def it_needs_images_of_two_classes() -> None:
    truth, said = case(10, 2, 3.0)
    assert "10 images" in fit_temperature(truth, said).reason
    assert fit_temperature(truth[:0], said[:0]).value == 1.0
    assert "one class" in fit_temperature(np.ones(50, dtype=np.int64), np.full((50, 2), 0.5)).reason
    flat = fit_temperature(np.arange(50) % 2, np.full((50, 2), 0.5))
    assert (flat.value, flat.loss_before) == (1.0, pytest.approx(np.log(2)))


def it_counts_patients_and_not_images() -> None:
    truth, said = case(30, 2, 2.0, seed=2)
    groups = np.repeat(np.arange(30), 20)
    alone = fit_temperature(truth, said)
    again = np.repeat(truth, 20), np.repeat(said, 20, axis=0)
    assert alone.value == 1.0
    assert fit_temperature(*again).value != 1.0
    assert fit_temperature(*again, groups).value == 1.0


def it_learns_nothing_from_seeing_an_image_again() -> None:
    truth, said = case(300, 3, 2.0)
    names = [str(number) for number in range(300)]
    again = fit_temperature(np.tile(truth, 5), np.tile(said, (5, 1)), names * 5, looks=5)
    once = fit_temperature(truth, said, names)
    assert again.value == pytest.approx(once.value, rel=1e-3)
    assert again.loss_after == pytest.approx(once.loss_after, rel=1e-3)
    few = fit_temperature(np.tile(truth[:19], 2), np.tile(said[:19], (2, 1)), looks=2)
    assert "val has 19 images" in few.reason


@pytest.mark.parametrize("temperature", [0.2, 1.0, 6.0])
def it_knows_what_a_calibrated_model_said_before(temperature: float) -> None:
    truth, said = case(500, 3, 1.0)
    labels = said.argmax(1)
    after = calibrated(said.astype(np.float32), temperature)
    found = without_temperature(truth, after, labels, temperature)
    before = score(truth, said, list("abc"))
    assert found["ece_before"] == pytest.approx(before["ece"], abs=1e-3)
    assert found["log_loss_before"] == pytest.approx(before["log_loss"], abs=1e-4)
    assert without_temperature(truth[:0], after[:0], labels[:0], 2.0) == {"ece_before": None, "log_loss_before": None}


@pytest.mark.parametrize("temperature", [0.1, 0.7, 3.0, 20.0])
def it_keeps_the_order_of_classes_and_sums_to_one(temperature: float) -> None:
    _, said = case(300, 4, 1.0)
    said[0] = [0, 1, 0, 0]  # as a random forest says
    found = calibrated(said.astype(np.float32), temperature)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    assert (found.argmax(1) == said.argmax(1)).all()
    assert calibrated(said, 1.0) is said


def it_draws_the_bins_that_the_error_is_made_of() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.5, 1, 500)
    right = rng.random(500) < chance**2
    bins = reliability(chance, right)
    gaps = [abs((one.score or 0) - (one.right or 0)) * one.count for one in bins]
    assert sum(gaps) / 500 == pytest.approx(calibration_error(chance, right))
    assert [one.count for one in bins[:5]] == [0] * 5
    assert bins[0].right is None
    assert all(one.right_low < one.right < one.right_high for one in bins[5:])
    assert reliability(np.array([]), np.array([]))[0].count == 0
