"""Transfer: backbones take what ours give them, frozen layers stay as they came, and both phases count."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from darkroom.errors import InvalidRequest, SourceError
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from tests.packages import package_info, write_dataset
from training.config import parse_config
from training.data import read_split
from training.kinds import Fitted, Job, kind_of
from training.kinds.transfer import Config, network
from training.networks.backbones import BACKBONES

pytestmark = pytest.mark.unit

SMALL = {"width": 32, "height": 32, "color": "gray"}
BACKBONE = "mobilenet_v3_small"
FIRST = "expanded_conv_10_expand"  # the later, the sooner it is compiled


def config_of(**changes: Any) -> Config:
    fields: dict[str, Any] = {"name": "mine", "kind": "transfer", "transform": SMALL, "backbone": BACKBONE}
    fields |= {
        "fine_tuning": {"from_layer": FIRST},
        "weights": "weights/mine.weights.h5",
        "epochs": 1,
        "batch_size": 16,
        "precision": "float32",
    }
    found = parse_config({**fields, "head": {"epochs": 4}, **changes})
    assert isinstance(found, Config)
    return found


def job_of(lake: Storage, config: Config, on_step: Any = lambda step, values: None, train: int = 32) -> Job:
    found = write_dataset(lake, "lamps", [config.transform], train=train, other=16)
    split = read_split(lake, found["dataset"], found["split_id"])
    return Job(lake, "lamps", split, config, 0, on_step)


def backbone_of(model: Any) -> Any:
    import keras

    return keras.Model(model.inputs[0], model.outputs[1])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of the backbone as Keras saves them: random ones, biases too, with statistics of some images."""
    from training.networks.batch_norm import settle_statistics

    model = network(config_of(), (32, 32, 1), 2, 5)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        values = [rng.normal(0, 0.1, one.shape) if one.ndim == 1 else one for one in layer.get_weights()]
        if getattr(layer, "use_bias", False):
            layer.set_weights(values)
    settle_statistics(model, rng.integers(0, 255, (64, 32, 32, 1), dtype=np.uint8))
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    backbone_of(model).save_weights(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def trained(weights: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One fit in two phases from those weights: the network as it was and became, its graph, steps and log."""
    from darkroom.storage import open_storage
    from training.networks import fine_tuning, members

    lake = open_storage(str(tmp_path_factory.mktemp("lake")))
    lake.write("weights/mine.weights.h5", weights)
    steps: list[int] = []
    job = job_of(lake, config_of(), lambda step, _: steps.append(step))
    before = fine_tuning.pretrained_network(job, (32, 32, 1))
    seen: list[Any] = []
    export = members.to_onnx
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "to_onnx", lambda model: (seen.append(model), export(model))[1])
        fitted = kind_of("transfer").fit(job)
    return {"before": before, "after": seen[0], "fitted": fitted, "steps": steps, "job": job}


def it_changes_nothing_of_the_frozen_part(trained: dict[str, Any]) -> None:
    import keras

    before, after = trained["before"], trained["after"]
    names = [layer.name for layer in before.layers]
    assert [type(layer) for layer in after.layers] == [type(layer) for layer in before.layers]
    first = names.index(FIRST)
    moved = []
    for position, (was, now) in enumerate(zip(before.layers, after.layers, strict=True)):
        same = all(np.array_equal(a, b) for a, b in zip(was.get_weights(), now.get_weights(), strict=True))
        if position < first or isinstance(now, keras.layers.BatchNormalization):
            assert same, now.name
        elif now.get_weights() and not same:
            moved.append(now.name)
    assert "scores" in moved
    assert (len(moved) > 1) == (trained["fitted"].facts["best_epoch"] == 5)


def it_numbers_the_epochs_of_both_phases_in_one_row(trained: dict[str, Any]) -> None:
    fitted: Fitted = trained["fitted"]
    assert trained["steps"] == list(range(1, len(fitted.history) + 1))
    assert len(fitted.history) == 5
    losses = [row["val_loss"] for row in fitted.history]
    kept = losses[int(fitted.facts["best_epoch"]) - 1]
    assert kept == pytest.approx(min(losses), abs=1e-3)


def it_hands_over_a_graph_that_says_what_keras_says(trained: dict[str, Any], lake: Storage) -> None:
    transform = config_of().transform
    info = package_info(
        transform=transform.model_dump(mode="json"), transform_hash=transform.hash, input_shape=transform.shape
    )
    model = load_package(lake, pack(info, trained["fitted"].graph))
    val = trained["job"].examples("val")
    probabilities, features, maps = trained["after"].predict(val.pixels, verbose=0)
    np.testing.assert_allclose(model.predict(val.pixels), probabilities, atol=1e-4)
    np.testing.assert_allclose(model.embed(val.pixels), features, atol=1e-3)
    np.testing.assert_allclose(model.maps(val.pixels), maps, atol=1e-3)
    weight = (1 / np.bincount(val.truth))[val.truth]
    loss = np.average(-np.log(probabilities[np.arange(len(val)), val.truth]), weights=weight)
    history = trained["fitted"].history
    assert loss == pytest.approx(history[int(trained["fitted"].facts["best_epoch"]) - 1]["val_loss"], abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def it_prepares_pixels_as_keras_applications_does(channels: int) -> None:
    import keras

    pixels = np.random.default_rng(1).integers(0, 256, (4, 8, 8, channels), dtype=np.uint8)
    colors = np.repeat(pixels, 3 // channels, axis=3).astype(np.float32)
    own = {
        "resnet50": keras.applications.resnet50.preprocess_input,
        "vgg16": keras.applications.vgg16.preprocess_input,
        "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
        "efficientnet_v2_b0": keras.applications.efficientnet_v2.preprocess_input,
    }
    for name, theirs in own.items():
        inputs = keras.Input((8, 8, channels), dtype="uint8")
        rgb = keras.layers.Concatenate()([inputs] * 3) if channels == 1 else inputs
        prepared = keras.Model(inputs, BACKBONES[name].prepare(rgb))
        np.testing.assert_allclose(prepared(pixels), theirs(colors.copy()), atol=1e-4, err_msg=name)


def it_trains_all_of_it_where_there_are_no_weights(lake: Storage, caplog: pytest.LogCaptureFixture) -> None:
    from training.networks import members

    caplog.set_level(logging.INFO)
    config = config_of(backbone="vgg16", weights="none")
    before = network(config, (32, 32, 1), 2, 0).get_weights()
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "to_onnx", lambda model: (seen.append(model), b"")[1])
        kind_of("transfer").fit(job_of(lake, config, train=4))
    changed = [not np.array_equal(a, b) for a, b in zip(before, seen[0].get_weights(), strict=True)]
    assert all(changed)
    assert any("Nothing is frozen: all of vgg16 is trained from scratch" in one.getMessage() for one in caplog.records)


def it_settles_no_statistics_of_frozen_layers() -> None:
    import keras

    from training.networks.batch_norm import settle_statistics

    inputs = keras.Input((4, 4, 1))
    still, free = (keras.layers.BatchNormalization(trainable=free) for free in (False, True))
    model = keras.Model(inputs, [still(inputs), free(inputs)])
    settle_statistics(model, np.full((8, 4, 4, 1), 7, np.uint8))
    assert float(still.moving_mean[0]) == 0
    assert float(free.moving_mean[0]) == 7


def it_settles_statistics_in_which_each_image_counts_alike() -> None:
    import keras

    from training.networks.batch_norm import settle_statistics

    inputs = keras.Input((4, 4, 1))
    layer = keras.layers.BatchNormalization()
    pixels = np.zeros((9, 4, 4, 1), np.uint8)
    pixels[8] = 90  # alone in the last batch
    settle_statistics(keras.Model(inputs, layer(inputs)), pixels, batch_size=4)
    assert float(layer.moving_mean[0]) == pytest.approx(10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone": "alexnet"}, "'alexnet'.*mobilenet_v2"),
        ({"transform": {"width": 16, "height": 32}}, "32 pixels"),
        ({"weights_sha256": "abc"}, "weights_sha256"),
        ({"weights": ""}, "weights"),
        ({"quantize": "int4"}, "quantize"),
        ({"head": {"layers": 3}}, "layers"),
    ],
)
def it_refuses_a_config_that_cannot_work(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        config_of(**changes)


def it_names_the_layers_where_one_is_not_there(trained: dict[str, Any]) -> None:
    from training.networks.fine_tuning import first_to_move

    with pytest.raises(InvalidRequest, match=r"no layer 'block_99'.*expanded_conv_8_expand"):
        first_to_move(trained["before"], config_of(fine_tuning={"from_layer": "block_99"}))
    names = [layer.name for layer in trained["before"].layers]
    assert first_to_move(trained["before"], config_of(fine_tuning={})) == names.index(BACKBONES[BACKBONE].top)


def it_says_how_to_give_a_file(lake: Storage) -> None:
    with pytest.raises(SourceError, match=r"no file .*weights/mine\.weights\.h5.*docs/transfer\.md"):
        kind_of("transfer").fit(job_of(lake, config_of()))
