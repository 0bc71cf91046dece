"""int8: smaller graphs of standard operators that say nearly the same, and say it again."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from tests.packages import package_info
from training.data import Examples
from training.networks.plain_graphs import with_plain_names
from training.networks.quantize import predictions, quantized, to_int8

pytestmark = pytest.mark.unit

CLASSES = ("BRIGHT", "DARK")
SHAPE = (16, 16, 1)


def graph_of(names: str = "") -> bytes:
    """Two convolutions, normalisation behind the second, a mean and a head: uint8[N, 16, 16, 1] -> float32[N, 2]."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 255),
        "k1": rng.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32),
        "k2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
        "gamma": rng.uniform(0.5, 2, (1, 8, 1, 1)).astype(np.float32),
        "beta": rng.normal(0, 0.3, (1, 8, 1, 1)).astype(np.float32),
        "axes": np.array([2, 3], np.int64),
        "head": rng.normal(0, 1.5, (8, 2)).astype(np.float32),
    }
    steps = [
        ("Cast", ["pixels"], "f", {"to": TensorProto.FLOAT}),
        ("Mul", ["f", "scale"], "s", {}),
        ("Transpose", ["s"], "t", {"perm": [0, 3, 1, 2]}),
        ("Conv", ["t", "k1"], "c1", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["c1"], "r1", {}),
        ("Conv", ["r1", "k2"], "c2", {"pads": [1, 1, 1, 1]}),
        ("Mul", ["c2", "gamma"], "n1", {}),
        ("Add", ["n1", "beta"], "n2", {}),
        ("Relu", ["n2"], "r2", {}),
        ("GlobalAveragePool", ["r2"], "p", {}),
        ("Squeeze", ["p", "axes"], "v", {}),
        ("MatMul", ["v", "head"], "m", {}),
        ("Softmax", ["m"], "probabilities", {"axis": 1}),
    ]
    nodes = [
        helper.make_node(kind, [names + one if one != "pixels" else one for one in inputs], [names + out], **options)
        for kind, inputs, out, options in steps
    ]
    graph = helper.make_graph(
        nodes,
        f"{names}net",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [f"{names}batch", *SHAPE])],
        [helper.make_tensor_value_info(f"{names}probabilities", TensorProto.FLOAT, [f"{names}batch", 2])],
        [numpy_helper.from_array(np.asarray(value), names + name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def mean_of_two() -> bytes:
    """Two networks of the same pixels, and the mean of what they say, as an ensemble is exported."""
    model, other = (onnx.load_model_from_string(graph_of(name)) for name in ("a/", "b/"))
    graph, names = model.graph, ["a/probabilities", "b/probabilities"]
    graph.node.extend(other.graph.node)
    graph.node.extend([helper.make_node("Add", names, ["sum"]), helper.make_node("Mul", ["sum", "half"], ["mean"])])
    graph.initializer.extend([*other.graph.initializer, numpy_helper.from_array(np.float32(0.5), "half")])
    del graph.output[:]
    graph.output.extend([helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 2])])
    return bytes(model.SerializeToString())


def averaging(**options: Any) -> bytes:
    """A convolution, means of two by two, a convolution, and the mean of what it gives."""
    rng = np.random.default_rng(2)
    kernels = {
        name: rng.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in (("k1", (4, 1, 3, 3)), ("k2", (2, 4, 3, 3)))
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "k1"], ["c"]),
        helper.make_node("AveragePool", ["c"], ["a"], kernel_shape=[2, 2], strides=[2, 2], **options),
        helper.make_node("Conv", ["a", "k2"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["g"]),
        helper.make_node("Flatten", ["g"], ["scores"]),
    ]
    ends = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *SHAPE])]
    last = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])]
    stored = [numpy_helper.from_array(value, name) for name, value in kernels.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends, last, stored), opset_imports=[helper.make_opsetid("", 15)]
    )
    model.ir_version = 8
    return bytes(model.SerializeToString())


def images(count: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    pixels = np.clip(rng.normal(np.where(truth, 90, 165)[:, None, None, None], 40, (count, *SHAPE)), 0, 255)
    ids = [f"{seed}-{k}" for k in range(count)]
    ones = np.ones(count)
    return Examples(
        content_ids=ids,
        pixels=pixels.astype(np.uint8),
        truth=truth,
        weight=ones,
        copies=ones.astype(np.int64),
        group=ids,
        classes=CLASSES,
    )


@pytest.fixture(scope="module")
def smaller() -> bytes:
    return to_int8(graph_of(), images(64, 0).pixels)


def it_says_nearly_the_same(smaller: bytes) -> None:
    pixels = images(100, 1).pixels
    before, after = predictions(graph_of(), pixels), predictions(smaller, pixels)
    assert np.abs(before - after).max() < 0.03
    assert np.abs(before - after).max() > 0  # it did change something
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)


def it_keeps_every_bit_of_the_mean_of_several() -> None:
    pixels = images(200, 1).pixels
    before, after = (predictions(graph, pixels) for graph in (mean_of_two(), to_int8(mean_of_two(), pixels)))
    assert 0 < np.abs(before - after).max() < 0.03
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(after[:, 0])) > 0.9 * len(np.unique(before[:, 0]))


@pytest.mark.parametrize(("options", "kept"), [({}, False), ({"pads": [1, 1, 1, 1]}, True), ({"ceil_mode": 1}, True)])
def it_takes_means_over_neighbours_as_convolutions(options: dict[str, Any], kept: bool) -> None:
    pixels = images(60, 3).pixels
    smaller = to_int8(averaging(**options), pixels)
    kinds = [node.op_type for node in onnx.load_model_from_string(smaller).graph.node]
    assert ("AveragePool" in kinds) is kept
    before, after = predictions(averaging(**options), pixels), predictions(smaller, pixels)
    assert np.abs(before - after).max() < 0.03 * np.ptp(before)


def it_repeats_itself(smaller: bytes) -> None:
    assert to_int8(graph_of(), images(64, 0).pixels) == smaller
    assert to_int8(graph_of(), images(64, 7).pixels) != smaller


def it_holds_standard_operators_with_weights_by_channel(smaller: bytes, lake: Storage) -> None:
    model = onnx.load_model_from_string(smaller)
    assert {entry.domain for entry in model.opset_import} == {""}
    kinds = [node.op_type for node in model.graph.node]
    assert "QuantizeLinear" in kinds
    assert not {"Mul", "BatchNormalization"} & set(kinds[kinds.index("Conv") :])  # folded
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [tensor for tensor in stored.values() if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in convolutions} == {TensorProto.INT8}
    scales = [node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert [8] in [list(stored[name].dims) for name in scales]
    transform = {"width": 16, "height": 16, "color": "gray", "resize": "stretch"}
    loaded = load_package(lake, pack(package_info(transform=transform, input_shape=SHAPE), smaller))
    assert loaded.predict(images(3, 2).pixels).shape == (3, 2)


def it_measures_both_forms_on_val(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def job(how: str) -> Any:
        return SimpleNamespace(config=SimpleNamespace(quantize=how), seed=0)

    train, val = images(64, 0), images(40, 1)
    graph, facts = quantized(job("none"), graph_of(), train, val)
    assert (graph, facts) == (graph_of(), {})
    graph, facts = quantized(job("int8"), graph_of(), train, val)
    assert graph != graph_of()
    for form, source in {"float32": graph_of(), "int8": graph}.items():
        said = predictions(source, val.pixels).argmax(axis=1)
        recalls = [(said[val.truth == k] == k).mean() for k in range(2)]
        assert facts[f"val_balanced_accuracy_{form}"] == pytest.approx(np.mean(recalls))
    assert 0 < facts["int8_largest_difference"] < 0.03
    assert any("balanced accuracy on val" in one.getMessage() for one in caplog.records)


def it_quantises_flat_images() -> None:
    flat = np.zeros((4, *SHAPE), np.uint8)
    assert np.isfinite(predictions(to_int8(graph_of(), flat), images(4, 0).pixels)).all()


def it_gives_equal_networks_equal_names() -> None:
    mine, theirs = (with_plain_names(onnx.load_model_from_string(graph_of(names))) for names in ("", "model_7/"))
    assert mine == theirs
    assert graph_of() != graph_of("model_7/")
    pixels = images(5, 0).pixels
    np.testing.assert_array_equal(predictions(mine, pixels), predictions(graph_of(), pixels))
    assert onnx.load_model_from_string(mine).graph.input[0].name == "pixels"
