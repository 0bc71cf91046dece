"""ONNX graphs written node by node, of standard operators: how a classical model becomes a model package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET, ML_OPSET, IR_VERSION = 17, 3, 9
_ML = "ai.onnx.ml"


class GraphWriter:
    """A graph from images to probabilities float32[N, classes], being written.

    ``shape`` is [H, W, C] of images, uint8[N, H, W, C], which become the vector of their pixels scaled to 0..1;
    or [D] of vectors of features, float32[N, D].
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    @cached_property
    def singles(self) -> str:
        """The vectors, float32[N, D]: the same floats that training saw."""
        if len(self._shape) == 1:
            return "features"
        from onnx import TensorProto

        scaled = self.node("Div", self.node("Cast", "pixels", to=TensorProto.FLOAT), self.constant(np.float32(255)))
        return self.node("Reshape", scaled, self.constant(np.array([-1, int(np.prod(self._shape))], np.int64)))

    @cached_property
    def doubles(self) -> str:
        """The vectors, float64[N, D]: a thousand products in float32 would show in the fourth digit."""
        from onnx import TensorProto

        return self.node("Cast", self.singles, to=TensorProto.DOUBLE)

    def constant(self, value: Any, name: str = "") -> str:
        """The name of a constant array of the dtype that it has."""
        from onnx import numpy_helper

        name = f"{name or 'constant'}_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Appends a node with one output; returns the output's name."""
        from onnx import helper

        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def affine(self, value: str, weights: np.ndarray, offset: np.ndarray) -> str:
        """``value`` float64[N, A] times ``weights`` [A, B] plus ``offset`` [B]."""
        products = self.node("MatMul", value, self.constant(weights.astype(np.float64), "weights"))
        return self.node("Add", products, self.constant(offset.astype(np.float64), "offset"))

    def beside_rest(self, share: str) -> str:
        """[N, 2] of the second class's probability [N, 1], a float64."""
        rest = self.node("Sub", self.constant(np.ones((1, 1))), share)
        return self.node("Concat", rest, share, axis=1)

    def shares(self, value: str) -> str:
        """``value`` float64[N, classes], not negative, divided by its rows' sums; equal shares where that is zero."""
        raised = self.node("Add", value, self.constant(np.float64(1e-12)))
        total = self.node("ReduceSum", raised, self.constant(np.array([1], np.int64)), keepdims=1)
        return self.node("Div", raised, total)

    def finish(self, probabilities: str, classes: int) -> bytes:
        """The graph whose output is ``probabilities``, a float32 or float64 [N, classes]."""
        import onnx
        from onnx import TensorProto, helper

        last = helper.make_node("Cast", [probabilities], ["probabilities"], to=TensorProto.FLOAT)
        images = len(self._shape) == 3
        kind = TensorProto.UINT8 if images else TensorProto.FLOAT
        graph = helper.make_graph(
            [*self._nodes, last],
            "classifier",
            [helper.make_tensor_value_info("pixels" if images else "features", kind, ["N", *self._shape])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
            self._constants,
        )
        used = {"": OPSET} | ({_ML: ML_OPSET} if any(node.domain == _ML for node in self._nodes) else {})
        opsets = [helper.make_opsetid(domain, version) for domain, version in used.items()]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="darkroom")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def graph_probabilities(graph: bytes, inputs: np.ndarray, batch: int = 256) -> np.ndarray:
    """float32[N, classes] of a graph for images or vectors, as a package gives them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[start : start + batch]})[0] for start in range(0, len(inputs), batch)]
    return np.concatenate(parts)
