"""What a model's answer rests on: heat where the evidence is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from darkroom.explanations import activation_heat, occlusion_heat, overlay
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from tests.packages import CLASSES, TRANSFORM, bright_or_dark, package_info
from training.comparing.explained import explain, sample
from training.data import Examples

pytestmark = pytest.mark.unit


def corner_reader(pixels: np.ndarray) -> np.ndarray:
    """Says the second class by the brightness of the upper left quarter alone."""
    half = pixels.shape[1] // 2
    share = pixels[:, :half, :half].mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - share, share], axis=1)


def it_covers_what_the_answer_rests_on() -> None:
    pixels = np.full((2, 32, 32, 1), 30, np.uint8)
    pixels[:, :16, :16] = 220
    heat = occlusion_heat(corner_reader, pixels, 1)
    assert heat.shape == (2, 8, 8)
    assert heat.max() == 1
    assert heat[:, :4, :4].mean() > 0.5
    assert heat[:, 5:, 5:].max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 3), (8, 8, 1)])
def it_explains_tiny_images(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, *shape)).astype(np.uint8)
    heat = occlusion_heat(corner_reader if min(shape[:2]) > 1 else lambda p: np.ones((len(p), 2)) / 2, pixels, 0)
    assert np.isfinite(heat).all()
    assert heat.min() >= 0
    assert heat.max() <= 1


def it_has_no_heat_where_nothing_matters() -> None:
    flat = np.full((1, 16, 16, 1), 90, np.uint8)
    assert occlusion_heat(corner_reader, flat, 1).max() == 0
    assert activation_heat(np.zeros((1, 4, 4, 3)), 2).max() == 0


def it_takes_from_maps_what_speaks_for_the_class() -> None:
    maps = np.zeros((1, 4, 4, 2))
    maps[0, 1, 2] = (5.0, 1.0)
    maps[0, 3, 3] = (7.0, 7.0)  # speaks for both alike
    heat = activation_heat(maps, 0)
    assert heat[0, 1, 2] == 1
    assert heat.sum() == 1
    assert activation_heat(maps, 1).sum() == 0


def it_paints_over_the_image() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    for pixels in (np.full((20, 40, 1), 100, np.uint8), np.full((20, 40, 3), 100, np.uint8)):
        picture = overlay(pixels, heat, 80)
        assert picture.shape == (40, 80, 3)
        assert picture[0, 0, 0] > 150 > picture[-1, -1, 0]
        np.testing.assert_array_equal(picture[-1, -1], [100, 100, 100])


def it_samples_each_image_once() -> None:
    rng = np.random.default_rng(0)
    right, scores = rng.random(40) < 0.8, rng.uniform(0.5, 1, 40)
    chosen = sample(right, scores, 6)
    rows = np.concatenate(list(chosen.values()))
    assert {name: len(found) for name, found in chosen.items()} == {"right": 6, "wrong": 6, "unsure": 6}
    assert len(set(rows.tolist())) == 18
    assert right[chosen["right"]].all()
    assert not right[chosen["wrong"]].any()
    assert scores[chosen["wrong"]].min() >= np.delete(scores, chosen["wrong"])[~np.delete(right, chosen["wrong"])].max()
    assert scores[chosen["right"][0]] == scores[right].max()
    for number in (0, 1, 3):
        some = sample(np.ones(number, bool), np.full(number, 0.9), 6)
        assert sum(len(found) for found in some.values()) == number


def it_explains_a_package_without_maps(lake: Storage) -> None:
    model = load_package(lake, pack(package_info(), bright_or_dark()))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, *TRANSFORM.shape)).astype(np.uint8)
    ids = [f"{k:064x}" for k in range(8)]
    examples = Examples(
        content_ids=ids,
        pixels=pixels,
        truth=np.arange(8) % 2,
        weight=np.ones(8),
        copies=np.ones(8, np.int64),
        group=ids,
        classes=CLASSES,
    )
    probabilities = model.predict(pixels)
    labels, scores = model.label_indices(probabilities), probabilities.max(axis=1)
    found = explain(model, examples, labels, scores, each=2)
    assert found.method.startswith("Occlusion")
    assert {one.group for one in found.images} <= {"right", "wrong", "unsure"}
    assert all(one.picture.startswith(b"\x89PNG") for one in found.images)
    assert found == explain(model, examples, labels, scores, each=2)
