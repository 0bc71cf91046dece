"""A classical head on a backbone's features: two graphs become one package that says what both say in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from darkroom.errors import InvalidRequest
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from tests.packages import package_info, write_dataset
from training.classical.composed import composed
from training.classical.graphs import graph_probabilities
from training.config import load_config, parse_config
from training.data import read_split
from training.kinds import Job, kind_of
from training.kinds.transfer_head import Config, embedding_network
from training.networks.backbones import BACKBONES

pytestmark = pytest.mark.unit

ADDRESS = "weights/mine.weights.h5"


def config_of(**changes: Any) -> Config:
    fields: dict[str, Any] = {"name": "mine", "kind": "transfer_head", "backbone": "mobilenet", "weights": ADDRESS}
    fields |= {"transform": {"width": 32, "height": 32, "color": "gray"}}
    found = parse_config({**fields, "head": {"kind": "svm", "cost": [1.0]}, **changes})
    assert isinstance(found, Config)
    return found


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One fit on random weights."""
    import keras

    from darkroom.storage import open_storage
    from training.networks.batch_norm import settle_statistics
    from training.networks.layers import pixels_input

    folder = tmp_path_factory.mktemp("lake")
    lake = open_storage(str(folder))
    config = config_of()
    found = write_dataset(lake, "lamps", [config.transform], train=32, other=16)
    job = Job(lake, "lamps", read_split(lake, found["dataset"], found["split_id"]), config, 0)
    keras.utils.set_random_seed(1)
    backbone = BACKBONES["mobilenet"].build(pixels_input((32, 32, 1)))
    settle_statistics(backbone, job.examples("train").pixels)
    backbone.save_weights(folder / "mine.weights.h5")
    lake.write(ADDRESS, (folder / "mine.weights.h5").read_bytes())
    return {"job": job, "found": kind_of("transfer_head").fit(job), "network": embedding_network(job)}


def it_is_one_graph_from_pixels_that_classifies_and_embeds(fitted: dict[str, Any], lake: Storage) -> None:
    job, found = fitted["job"], fitted["found"]
    transform = job.config.transform
    fields = {"transform": transform.model_dump(mode="json"), "transform_hash": transform.hash}
    model = load_package(lake, pack(package_info(**fields, input_shape=transform.shape), found.graph))
    val = job.examples("val")
    features = fitted["network"].predict(val.pixels, verbose=0)
    np.testing.assert_allclose(model.embed(val.pixels), features, rtol=1e-3, atol=1e-3)
    assert found.features is None
    probabilities = model.predict(val.pixels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(probabilities[:, 0]) > 0.01
    weight = (1 / np.bincount(val.truth))[val.truth]
    loss = np.average(-np.log(probabilities[np.arange(len(val)), val.truth]), weights=weight)
    assert loss == pytest.approx(found.history[0]["val_loss"], abs=1e-3)


def it_repeats_itself(fitted: dict[str, Any]) -> None:
    job = fitted["job"]
    assert kind_of("transfer_head").fit(job).graph == fitted["found"].graph


def it_joins_graphs_of_different_versions() -> None:
    from training.classical.graphs import GraphWriter
    from training.classical.linear_graph import linear_graph

    rng = np.random.default_rng(0)
    first = linear_graph(rng.normal(0, 1, (3, 12)), np.zeros(3), (2, 2, 3))
    older = onnx.load_model_from_string(first)
    older = onnx.version_converter.convert_version(older, 15)
    older.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))
    writer = GraphWriter((3,))
    weights = rng.normal(0, 1, (3, 2))
    second = writer.finish(writer.node("Softmax", writer.affine(writer.doubles, weights, np.zeros(2)), axis=1), 2)
    both = composed(older.SerializeToString(), second)
    pixels = rng.integers(0, 255, (5, 2, 2, 3), dtype=np.uint8)
    expected = graph_probabilities(second, graph_probabilities(first, pixels))
    np.testing.assert_allclose(graph_probabilities(both, pixels), expected, atol=1e-6)
    model = onnx.load_model_from_string(both)
    onnx.checker.check_model(model)
    assert [len(one.type.tensor_type.shape.dim) for one in model.graph.output] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"head": {"kind": "small_cnn"}}, "small_cnn is no head"),
        ({"head": {"kind": "transfer_head"}}, "no head"),
        ({"head": {"kind": "mllib_gbt"}}, "mllib_gbt is no head"),
        ({"head": {"kind": "forest"}}, "'forest'"),
        ({"head": {"kind": "svm", "features": ["hog"]}}, "Leave `features` out"),
        ({"head": {"kind": "svm", "cost": []}}, "cost"),
        ({"head": {}}, "kind None"),
        ({"head": {"kind": "incremental"}}, "incremental keeps features"),
        ({"head": {"kind": "svm", "evaluate": "kfold"}}, "head has evaluate"),
        ({"weights": "none"}, "Expected weights"),
        ({"backbone": "alexnet"}, "'alexnet'"),
        ({"transform": {"width": 16, "height": 16}}, "32 pixels"),
    ],
)
def it_refuses_a_config_that_cannot_work(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        config_of(**changes)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2_svm",
        "pretrained_mobilenet",
        "pretrained_resnet50",
        "transfer_efficientnet_v2_b0",
        "transfer_mobilenet_v2",
        "transfer_resnet50_int8",
    ],
)
def it_comes_with_configs_at_the_backbones_own_size(name: str) -> None:
    config: Any = load_config(name)
    assert config.transform.shape == (224, 224, 3)
    assert config.weights == "imagenet"
