"""Several graphs as one whose probabilities are the weighted mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Part:
    """One model's ONNX graph, and which columns (start, end) of the features it takes; None: it takes pixels."""

    graph: bytes
    columns: Sequence[tuple[int, int]] | None

    @property
    def index(self) -> np.ndarray:
        """int64[D]: where the columns of a part that takes features are among all features."""
        return np.concatenate([np.arange(start, end, dtype=np.int64) for start, end in self.columns or ()])


def blended(parts: Sequence[Part], weights: np.ndarray, shape: tuple[int, ...], features: int) -> bytes:
    """One ONNX graph of several; ``weights`` float[parts] sum to one.

    Inputs, where a part takes them: ``pixels`` uint8[N, H, W, C] of ``shape`` and ``features`` float32[N, features].
    Outputs: float32[N, classes], and the embedding of the first part that has one.
    """
    import onnx
    from onnx import TensorProto, helper

    from training.networks.plain_graphs import with_plain_names, without_unused_domains

    models = [onnx.load_model_from_string(part.graph) for part in parts]
    for model in models:
        without_unused_domains(model)
    newest = max(_opset(model) for model in models)
    models = [onnx.version_converter.convert_version(model, newest) for model in models]
    nodes, constants, opsets, said, embedding = [], [], {"": newest}, [], ""
    for number, (part, model) in enumerate(zip(parts, models, strict=True)):
        opsets |= {entry.domain: max(entry.version, opsets.get(entry.domain, 0)) for entry in model.opset_import}
        graph = onnx.compose.add_prefix(model, f"part{number}_").graph
        if part.columns is None:
            nodes.append(helper.make_node("Identity", ["pixels"], [graph.input[0].name]))
        else:
            constants.append(onnx.numpy_helper.from_array(part.index, f"part{number}_columns"))
            gather = ["features", f"part{number}_columns"]
            nodes.append(helper.make_node("Gather", gather, [graph.input[0].name], axis=1))
        nodes += graph.node
        constants += graph.initializer
        constants.append(onnx.numpy_helper.from_array(np.asarray(weights[number], np.float32), f"part{number}_weight"))
        nodes.append(helper.make_node("Mul", [graph.output[0].name, f"part{number}_weight"], [f"part{number}_share"]))
        said.append(f"part{number}_share")
        if not embedding and len(graph.output) > 1:
            embedding = graph.output[1].name
    nodes.append(helper.make_node("Sum", said, ["probabilities"]))
    inputs = []
    if any(part.columns is None for part in parts):
        inputs.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *shape]))
    if any(part.columns is not None for part in parts):
        inputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", features]))
    classes = models[0].graph.output[0].type.tensor_type.shape.dim[1].dim_value
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])]
    if embedding:
        outputs.append(helper.make_tensor_value_info(embedding, TensorProto.FLOAT, ["N", None]))
    imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
    joined = helper.make_model(
        helper.make_graph(nodes, "blend", inputs, outputs, constants), opset_imports=imports, producer_name="darkroom"
    )
    joined.ir_version = max(model.ir_version for model in models)
    return with_plain_names(joined)


def _opset(model: Any) -> int:
    return max(int(entry.version) for entry in model.opset_import if entry.domain == "")
