"""The Keras engine: it learns, repeats itself, shows images as often as asked, and hands over what it trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest

from darkroom.errors import DataError
from darkroom.explanations import activation_heat
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from darkroom.transform import ImageTransform
from tests.packages import CLASSES, package_info
from training.config import parse_config
from training.data import Examples
from training.kinds.small_cnn import Config, network
from training.networks.augment import augment_batch, random_changes
from training.networks.keras_engine import mean_of, spoken, to_onnx, train_network, training_dataset
from training.networks.options import AugmentationOptions

pytestmark = pytest.mark.unit

SMALL = ImageTransform(width=16, height=16)


def examples(count: int, seed: int, copies: int = 1) -> Examples:
    """Images with a bright square left (class 0) or right (class 1) on noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    pixels = rng.integers(60, 120, (count, *SMALL.shape)).astype(np.uint8)
    for k, side in enumerate(truth):
        row, column = rng.integers(2, 10), rng.integers(1, 3) + 9 * side
        pixels[k, row : row + 4, column : column + 4] = 230
    ids = [f"{seed}-{k}" for k in range(count)]
    return Examples(
        content_ids=ids,
        pixels=pixels,
        truth=truth,
        weight=np.ones(count),
        copies=np.full(count, copies),
        group=ids,
        classes=CLASSES,
    )


def tiny(**changes: Any) -> Config:
    fields: dict[str, Any] = {
        "transform": SMALL.model_dump(mode="json"),
        "model": {"filters": [8, 16], "first_stride": 1},
        "augmentation": {"rotation": 3, "flip": False},
        "epochs": 5,
        "batch_size": 16,
    }
    found = parse_config({"name": "tiny", "kind": "small_cnn", **fields, **changes})
    assert isinstance(found, Config)
    return found


@dataclass(frozen=True)
class Trained:
    model: Any
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float

    @cached_property
    def graph(self) -> bytes:
        return to_onnx(self.model)


def train(config: Config, *parts: Any) -> Trained:
    return Trained(*train_network(config, partial(network, config.model), *parts))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(tiny(), examples(160, 0), examples(60, 1), 3)


def loaded(graph: bytes, lake: Storage) -> Any:
    info = package_info(transform=SMALL.model_dump(mode="json"), transform_hash=SMALL.hash, input_shape=SMALL.shape)
    return load_package(lake, pack(info, graph))


def it_learns_and_keeps_the_best_epoch(trained: Any, lake: Storage) -> None:
    losses = [row["val_loss"] for row in trained.history]
    assert trained.best_epoch == int(np.argmin(losses)) + 1 or losses[trained.best_epoch - 1] - min(losses) < 1e-3
    test = examples(100, 2)
    model = loaded(trained.graph, lake)
    assert (model.label_indices(model.predict(test.pixels)) == test.truth).mean() > 0.9
    val = examples(60, 1)
    shares = model.predict(val.pixels)[np.arange(60), val.truth]
    weight = (1 / np.bincount(val.truth))[val.truth]
    kept = np.average(-np.log(np.clip(shares, 1e-7, 1)), weights=weight)
    assert kept == pytest.approx(losses[trained.best_epoch - 1], abs=1e-4)


def it_embeds(trained: Any, lake: Storage) -> None:
    model = loaded(trained.graph, lake)
    found = model.embed(examples(5, 2).pixels)
    assert found.shape == (5, 16)
    assert np.isfinite(found).all()


def it_repeats_itself_with_one_seed(trained: Any, lake: Storage) -> None:
    again = train(tiny(epochs=2), examples(160, 0), examples(60, 1), 3)
    once_more = train(tiny(epochs=2), examples(160, 0), examples(60, 1), 3)
    assert [row["train_loss"] for row in again.history] == [row["train_loss"] for row in once_more.history]
    pixels = examples(20, 2).pixels
    np.testing.assert_array_equal(
        loaded(again.graph, lake).predict(pixels), loaded(once_more.graph, lake).predict(pixels)
    )


def it_stops_when_val_gets_no_better(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stopping = {"patience": 1, "min_delta": 5.0}
    seen: list[int] = []
    found = train(
        tiny(epochs=9, early_stopping=stopping),
        examples(32, 0),
        examples(20, 1),
        0,
        lambda epoch, _: seen.append(epoch),
    )
    assert len(found.history) == 2
    assert seen == [1, 2]
    assert found.best_epoch == 1
    lines = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("epoch ") and "left" in line for line in lines) == 2
    assert any("stopped" in line for line in lines)


def it_shows_every_image_as_often_as_its_copies_say() -> None:
    data = examples(30, 0)
    data.copies[:5] = 3
    still = {"rotation": 0, "shift": 0, "zoom": 0, "brightness": 0, "contrast": 0}
    batches = training_dataset(tiny(augmentation=still), data, 0, 4).take(4)
    shown = np.concatenate([pixels.numpy() for pixels, _, _ in batches])
    assert len(shown) == 40
    counts = [(shown == image).all((1, 2, 3)).sum() for image in data.pixels]
    assert counts == data.copies.tolist()


def it_weighs_images_so_that_the_mean_is_one() -> None:
    data = examples(40, 0)
    data.weight[data.truth == 0] = 3.0
    batches = list(training_dataset(tiny(), data, 0, 3).take(3))
    weights = np.concatenate([weight.numpy() for _, _, weight in batches])
    truth = np.concatenate([one_hot.numpy().argmax(1) for _, one_hot, _ in batches])
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert weights[truth == 0].mean() == pytest.approx(3 * weights[truth == 1].mean(), rel=1e-5)


def it_changes_images_only_as_far_as_it_is_told() -> None:
    rng = np.random.default_rng(0)
    data = examples(20, 0).pixels
    nothing = AugmentationOptions(flip=False, rotation=0, shift=0, zoom=0, brightness=0, contrast=0)
    same = augment_batch(data, random_changes(nothing, 20, SMALL.shape, rng))
    np.testing.assert_array_equal(same, data)
    mirrored = AugmentationOptions(flip=True, rotation=0, shift=0, zoom=0, brightness=0, contrast=0)
    flipped = augment_batch(data, random_changes(mirrored, 20, SMALL.shape, rng))
    for before, after in zip(data, flipped, strict=True):
        assert (after == before).all() or (after == before[:, ::-1]).all()
    assert any((after == before[:, ::-1]).all() for before, after in zip(data, flipped, strict=True))
    noise = np.random.default_rng(1).integers(0, 255, data.shape).astype(np.uint8)
    moved = AugmentationOptions(flip=False, rotation=0, shift=0.2, zoom=0, brightness=0, contrast=0)
    for before, after in zip(noise, augment_batch(noise, random_changes(moved, 20, SMALL.shape, rng)), strict=True):
        assert set(after.ravel().tolist()) <= set(before.ravel().tolist())  # shifted by whole pixels: no value between
    much = augment_batch(data, random_changes(AugmentationOptions(), 20, SMALL.shape, rng))
    assert much.dtype == np.uint8
    assert (much != data).any()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def it_says_durations_as_people_do(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def it_tells_where_in_the_image_its_score_comes_from(trained: Trained, lake: Storage) -> None:
    data = examples(40, 2)
    model = loaded(trained.graph, lake)
    maps = model.maps(data.pixels)
    scores = np.exp(maps.mean(axis=(1, 2)))
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), model.predict(data.pixels), atol=1e-4)
    heat = np.stack([activation_heat(maps[[k]], side)[0] for k, side in enumerate(data.truth)])
    half = heat.shape[2] // 2
    left, right = heat[:, :, :half].sum((1, 2)), heat[:, :, half:].sum((1, 2))
    assert (np.where(data.truth == 0, left > right, right > left)).mean() > 0.8


def it_trains_alike_in_bfloat16_and_in_float32(lake: Storage) -> None:
    test = examples(100, 2)
    for precision in ("float32", "bfloat16"):
        found = train(tiny(precision=precision), examples(160, 0), examples(60, 1), 3)
        model = loaded(found.graph, lake)
        assert (model.label_indices(model.predict(test.pixels)) == test.truth).mean() > 0.9, precision


def it_says_that_a_loss_is_no_number() -> None:
    data = examples(64, 0)
    data.weight[3] = np.nan
    with pytest.raises(DataError, match=r"not a finite number.*learning rate"):
        train(tiny(), data, examples(20, 1), 0)


def it_averages_members_into_one_network(trained: Trained, lake: Storage) -> None:
    other = train(tiny(epochs=2), examples(160, 0), examples(60, 1), 4)
    pixels = examples(20, 2).pixels
    both = loaded(to_onnx(mean_of([trained.model, other.model])), lake)
    one, two = loaded(trained.graph, lake), loaded(other.graph, lake)
    np.testing.assert_allclose(both.predict(pixels), (one.predict(pixels) + two.predict(pixels)) / 2, atol=1e-5)
    np.testing.assert_allclose(both.maps(pixels), (one.maps(pixels) + two.maps(pixels)) / 2, atol=1e-4)
    np.testing.assert_allclose(both.embed(pixels)[:, 16:], two.embed(pixels), atol=1e-5)
