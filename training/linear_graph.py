"""A linear classifier on pixels as an ONNX graph, so that it predicts through the same door as any network."""

from __future__ import annotations

import numpy as np

OPSET = 17
IR_VERSION = 9


def linear_graph(coefficients: np.ndarray, intercepts: np.ndarray, shape: tuple[int, int, int]) -> bytes:
    """softmax(W·x + b) over pixels x scaled to 0..1, flattened in C order.

    ``coefficients`` float[classes, H·W·C], ``intercepts`` float[classes]. The graph takes uint8[N, H, W, C] and gives
    float32[N, classes]. Sums run in float64: a thousand products in float32 would show in the fourth digit.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    classes, features = coefficients.shape
    constants = {
        "range": np.float64(255.0),
        "weights": coefficients.T.astype(np.float64),
        "intercepts": intercepts.astype(np.float64),
        "flat": np.array([-1, features], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Div", ["wide", "range"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["products"]),
        helper.make_node("Add", ["products", "intercepts"], ["margins"]),
        helper.make_node("Softmax", ["margins"], ["shares"], axis=1),
        helper.make_node("Cast", ["shares"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="darkroom")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
