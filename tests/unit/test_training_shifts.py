"""Simulated shifts: each changes an image, none changes what it shows, and equal images change equally."""

from __future__ import annotations

import numpy as np
import pytest

from training.shifts import SHIFTS, rounds_of, shifted

pytestmark = pytest.mark.unit


def disc(side: int, channels: int) -> np.ndarray:
    """A bright disc on a dark, slowly changing ground."""
    row, column = np.mgrid[:side, :side] / side - 0.5
    image = 60 + 40 * row + 110 * (row**2 + column**2 < 0.06)
    return np.repeat(image[..., None], channels, axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("channels", [1, 3])
def it_changes_an_image_and_keeps_what_it_shows(name: str, channels: int) -> None:
    image = disc(96, channels)
    changed = SHIFTS[name](image, np.random.default_rng(0)).reshape(image.shape)
    assert changed.dtype == np.uint8
    assert (changed != image).mean() > 0.02
    assert np.corrcoef(changed.ravel(), image.ravel())[0, 1] > 0.6


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (400, 8, 1)])
def it_takes_images_of_any_shape(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2 * len(SHIFTS), *shape)).astype(np.uint8)
    assert shifted(pixels).shape == pixels.shape


def it_shifts_in_turn_and_repeatably() -> None:
    pixels = np.stack([disc(32, 1)] * (len(SHIFTS) + 1))
    found = shifted(pixels)
    np.testing.assert_array_equal(found, shifted(pixels))
    assert len({image.tobytes() for image in found[: len(SHIFTS)]}) == len(SHIFTS)
    assert shifted(pixels[:0]).shape == (0, 32, 32, 1)


def it_looks_at_few_images_under_every_shift_and_at_many_under_one() -> None:
    assert [rounds_of(images) for images in (0, 1, 300, 1000, 50_000)] == [len(SHIFTS), len(SHIFTS), len(SHIFTS), 4, 1]
    pixels = np.stack([disc(32, 1)] * 2)
    seen = [shifted(pixels, start)[0].tobytes() for start in range(len(SHIFTS))]
    assert len(set(seen)) == len(SHIFTS)
