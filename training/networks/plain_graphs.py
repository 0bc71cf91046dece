"""Plain ONNX graphs: equal networks give equal files, whatever the exporter counted and happened to fold."""

from __future__ import annotations

from typing import Any

import numpy as np


def with_plain_shapes(model: Any) -> None:
    """Reshapes of an onnx.ModelProto take constants, and those that change nothing go.

    TensorFlow's optimizer, which the exporter calls, folds the shapes of some of them in one run and not in another.
    A shape with one open dimension, as that of the batch, is told by the others. A graph with graphs inside its nodes
    is left as it is.
    """
    if has_graphs_inside(model.graph):
        return
    from onnx import numpy_helper, shape_inference

    known = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape_of(value) for value in (*known.input, *known.value_info, *known.output)}
    graph = model.graph
    said = {value.name for value in graph.output}
    same: dict[str, str] = {}
    for node in list(graph.node):
        node.input[:] = [same.get(name, name) for name in node.input]
        shape = shapes.get(node.output[0])
        if node.op_type != "Reshape" or shape is None or shape.count(-1) > 1 or 0 in shape:
            continue
        if shape == shapes.get(node.input[0]) and node.output[0] not in said:
            same[node.output[0]] = node.input[0]
            graph.node.remove(node)
            continue
        name = f"{node.output[0]}/shape"
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        node.input[1] = name


def _shape_of(value: Any) -> list[int] | None:
    """The dimensions, -1 for open ones; None where not even their number is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [int(one.dim_value) if one.HasField("dim_value") else -1 for one in tensor.shape.dim]


def has_graphs_inside(graph: Any) -> bool:
    """Whether a node of an onnx.GraphProto holds graphs of its own, as a loop does: these may use any of its values."""
    return any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute)


def without_unused_domains(model: Any) -> None:
    """Takes the operator sets out of an onnx.ModelProto that none of its nodes is of, but never ONNX's own."""
    used = {node.domain for node in model.graph.node} | {""}
    for entry in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(entry)


def with_plain_names(model: Any) -> bytes:
    """An onnx.ModelProto as bytes: nodes and values named by their place, constants in the order of their use.

    A node's place is where a walk from the outputs through the inputs of each node comes to it, since an exporter's own
    order hangs on names. What no output needs is left out. The names of inputs stay; dimensions that are open, which
    are those of the batch, are called N. A graph with graphs inside its nodes is left as it is.
    """
    graph = model.graph
    if has_graphs_inside(graph):
        return bytes(model.SerializeToString())
    ordered_nodes = in_order_of_need(graph)
    del graph.node[:]
    graph.node.extend(ordered_nodes)
    names = {"": ""} | {value.name: value.name for value in graph.input}
    names |= {value.name: f"output_{k}" for k, value in enumerate(graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used = [name for node in graph.node for name in node.input if name in constants]
    used += [value.name for value in graph.output if value.name in constants]
    ordered = list(dict.fromkeys(used))
    names |= {name: f"constant_{k}" for k, name in enumerate(ordered) if name not in names}
    for position, node in enumerate(graph.node):
        node.name = f"node_{position}"
        for place, name in enumerate(node.output):
            names.setdefault(name, f"value_{position}_{place}")
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    kept = [constants[name] for name in ordered]
    for tensor in kept:
        tensor.name = names[tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in graph.output:
        value.name = names[value.name]
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.HasField("dim_param"):
                dimension.dim_param = "N"
    del graph.value_info[:]
    graph.name, graph.doc_string = "network", ""
    return bytes(model.SerializeToString())


def in_order_of_need(graph: Any) -> list[Any]:
    """The nodes of an onnx.GraphProto that its outputs need, each after those that it needs itself."""
    makers = {name: position for position, node in enumerate(graph.node) for name in node.output if name}
    found: list[Any] = []
    done: set[int] = set()
    for value in graph.output:
        stack = [(makers[value.name], False)] if value.name in makers else []
        while stack:
            position, ready = stack.pop()
            if position in done:
                continue
            if ready:
                done.add(position)
                found.append(graph.node[position])
                continue
            stack.append((position, True))
            needed = [makers[name] for name in graph.node[position].input if name in makers]
            stack += [(one, False) for one in reversed(needed) if one not in done]
    return found
