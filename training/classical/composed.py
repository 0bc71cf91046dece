"""A network's graph and a head's graph as one."""

from __future__ import annotations


def composed(network: bytes, head: bytes) -> bytes:
    """Two ONNX graphs as one with two outputs: what the head makes of the network's first output, and that output.

    ``network``: uint8[N, H, W, C] to features float32[N, D]; ``head``: float32[N, D] to probabilities
    float32[N, classes].
    """
    import onnx

    from training.networks.plain_graphs import with_plain_names, without_unused_domains

    first, second = (onnx.load_model_from_string(graph) for graph in (network, head))
    for model in (first, second):
        without_unused_domains(model)
    newest = max(entry.version for model in (first, second) for entry in model.opset_import if entry.domain == "")
    first, second = (onnx.version_converter.convert_version(model, newest) for model in (first, second))
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    second = onnx.compose.add_prefix(second, "head_")
    features, taken = first.graph.output[0].name, second.graph.input[0].name
    probabilities = second.graph.output[0].name
    joined = onnx.compose.merge_models(first, second, [(features, taken)], outputs=[probabilities, features])
    outputs = sorted(joined.graph.output, key=lambda value: value.name == features)  # probabilities come first
    del joined.graph.output[:]
    joined.graph.output.extend(outputs)
    return with_plain_names(joined)
