"""Equal networks give equal graphs, whatever the exporter counted and happened to fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from training.networks.plain_graphs import with_plain_names, with_plain_shapes, without_unused_domains

pytestmark = pytest.mark.unit


def it_gives_equal_networks_equal_nodes_whatever_their_order() -> None:
    """A node that needs nothing of the others may stand anywhere before its use."""
    first = onnx.load_model_from_string(branched())
    second = onnx.load_model_from_string(branched())
    nodes = [second.graph.node[position] for position in (1, 0, 2)]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del second.graph.node[:]
    second.graph.node.extend(copies)
    assert first.SerializeToString() != second.SerializeToString()
    mine, theirs = with_plain_names(first), with_plain_names(second)
    assert mine == theirs
    values = np.array([[-3.0, 2.0]], np.float32)
    (found,) = onnxruntime.InferenceSession(mine).run(None, {"x": values})
    np.testing.assert_allclose(found, np.maximum(values, 0) + 1 / (1 + np.exp(-values)), atol=1e-6)


def branched() -> bytes:
    """relu(x) + sigmoid(x)."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Sigmoid", ["x"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 2]) for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def flattened(fold: str) -> Any:
    """float[N, 2, 3] to float[N, 6]: by a constant, by a shape that is computed, or twice over."""
    helper = onnx.helper
    constants = {"none": [-1, 6], "six": [6], "zero": [0], "start": [0], "end": [1], "wide": [-1, 6]}
    nodes = {
        "constant": [helper.make_node("Reshape", ["x", "none"], ["y"])],
        "computed": [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Slice", ["shape", "start", "end", "zero"], ["batch"]),
            helper.make_node("Concat", ["batch", "six"], ["wanted"], axis=0),
            helper.make_node("Reshape", ["x", "wanted"], ["y"]),
        ],
        "twice": [
            helper.make_node("Reshape", ["x", "none"], ["once"]),
            helper.make_node("Reshape", ["once", "wide"], ["again"]),
            helper.make_node("Reshape", ["again", "none"], ["y"]),
        ],
    }[fold]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Relu", ["y"], ["z"])],
        fold,
        [helper.make_tensor_value_info("x", 1, ["N", 2, 3])],
        [helper.make_tensor_value_info("z", 1, ["N", 6])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def it_gives_equal_networks_equal_shapes_whatever_was_folded() -> None:
    found = {}
    values = np.arange(-6, 12, dtype=np.float32).reshape(3, 2, 3)
    for fold in ("constant", "computed", "twice"):
        model = flattened(fold)
        with_plain_shapes(model)
        found[fold] = with_plain_names(model)
        (said,) = onnxruntime.InferenceSession(found[fold]).run(None, {"x": values})
        np.testing.assert_array_equal(said, np.maximum(values, 0).reshape(3, 6))
    assert len(set(found.values())) == 1


def it_leaves_a_reshape_that_is_the_output_and_one_with_two_open_dimensions() -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "w"], ["y"]),
            helper.make_node("Reshape", ["a", "shape"], ["b"]),
        ],
        "open",
        [
            helper.make_tensor_value_info("x", 1, ["N", 4]),
            helper.make_tensor_value_info("a", 1, ["N", 4]),
            helper.make_tensor_value_info("shape", 7, [2]),
        ],
        [helper.make_tensor_value_info("y", 1, ["N", 4]), helper.make_tensor_value_info("b", 1, [None, None])],
        [numpy_helper.from_array(np.array([0, 4], np.int64), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    with_plain_shapes(model)
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    session = onnxruntime.InferenceSession(with_plain_names(model))
    same, other = session.run(None, {"x": values, "a": values, "shape": np.array([4, 2], np.int64)})
    np.testing.assert_array_equal(same, values)
    np.testing.assert_array_equal(other, values.reshape(4, 2))


def it_takes_out_domains_without_an_operator() -> None:
    model = onnx.load_model_from_string(branched())
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))
    without_unused_domains(model)
    assert [entry.domain for entry in model.opset_import] == [""]
