"""What a graph of a model package may hold: standard operators, and every weight inside the file."""

from __future__ import annotations

from typing import Any

from darkroom.errors import ModelError

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def check_graph(graph: bytes) -> None:
    """Refuses whatever would reach outside the file or need code of its own, with a ModelError."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise ModelError(f"The graph of a model package is no ONNX model ({error}). Train it again.") from error
    if model.functions:
        raise ModelError("The model defines functions of its own. Expected standard operators only.")
    for part in _graphs(model.graph):
        for tensor in _tensors(part):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise ModelError(f"The weight {tensor.name!r} is in another file. Expected every weight inside.")
        for node in part.node:
            if node.domain not in STANDARD_DOMAINS:
                raise ModelError(f"The model uses the operator {node.domain}.{node.op_type}. Expected standard ones.")


def _tensors(graph: Any) -> list[Any]:
    tensors = list(graph.initializer)
    tensors += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
    return tensors


def _graphs(graph: Any) -> list[Any]:
    """The graph and every graph inside its nodes (branches and loops)."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            inner = list(attribute.graphs)
            if attribute.HasField("g"):
                inner.append(attribute.g)
            for part in inner:
                found += _graphs(part)
    return found
