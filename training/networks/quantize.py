"""A network's graph in 8 bits: weights by channel, activations by the ranges that training images give.

Static quantisation by ONNX Runtime: QuantizeLinear and DequantizeLinear around standard operators, which the runtime
fuses to integer kernels when it loads the graph. ``quantize: int8`` in a network's config asks for it; what comes
out goes to the gate like any other model.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.metrics import balanced_accuracy, confusion
from training.data import Examples
from training.kinds import Job
from training.networks.plain_graphs import with_plain_names, without_unused_domains

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 256
_BATCH = 32


def quantized(job: Job, graph: bytes, train: Examples, val: Examples) -> tuple[bytes, Mapping[str, float]]:
    """The graph as the job's config wants it, and how both forms do on val where there are two."""
    if job.config.quantize == "none":
        return graph, {}
    chosen = np.random.default_rng([job.seed, 3]).permutation(len(train))[:CALIBRATION_IMAGES]
    smaller = to_int8(graph, train.pixels[np.sort(chosen)])
    before, after = predictions(graph, val.pixels), predictions(smaller, val.pixels)
    measured = {
        "val_balanced_accuracy_float32": _balanced(before, val),
        "val_balanced_accuracy_int8": _balanced(after, val),
        "int8_largest_difference": float(np.abs(before - after).max()),
    }
    log.info(
        "int8: %.1f MB instead of %.1f MB; balanced accuracy on val %.3f instead of %.3f (before the threshold)",
        *(len(smaller) / 1e6, len(graph) / 1e6),
        *(measured["val_balanced_accuracy_int8"], measured["val_balanced_accuracy_float32"]),
    )
    return smaller, measured


def to_int8(graph: bytes, pixels: np.ndarray) -> bytes:
    """The graph with weights and activations in 8 bits, ranges by ``pixels`` (uint8[N, H, W, C]).

    The same graph and pixels give the same bytes on one machine.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model = _with_averages_as_convolutions(_folded(graph))
    name = model.graph.input[0].name

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime tells no types
        def __init__(self) -> None:
            self._parts = iter([pixels[k : k + _BATCH] for k in range(0, len(pixels), _BATCH)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self._parts, None)
            return None if part is None else {name: part}

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            Batches(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_outside(model.graph),
        )
        return _with_used_domains(path)


def predictions(graph: bytes, pixels: np.ndarray) -> np.ndarray:
    """The first output of a graph for uint8[N, H, W, C], on two threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [session.get_outputs()[0].name]
    feed = session.get_inputs()[0].name
    parts = [session.run(names, {feed: pixels[k : k + _BATCH]})[0] for k in range(0, len(pixels), _BATCH)]
    return np.concatenate(parts)


def _folded(graph: bytes) -> Any:
    """The graph with batch normalisation folded into convolutions and constants computed: standard operators still."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        model = onnx.load_model_from_string(with_plain_names(onnx.load_model(path)))
    add_pre_process_metadata(model)  # or the quantizer asks for what was just done
    return model


def _with_used_domains(path: Path) -> bytes:
    """The file's graph without the domains that it imports and has no operator of."""
    import onnx

    model = onnx.load_model(path)
    without_unused_domains(model)
    del model.metadata_props[:]
    return with_plain_names(model)


def _outside(graph: Any) -> list[str]:
    """The nodes before the first convolution and from the pooled features on: cheap, and they need every bit.

    A graph may be the mean of several networks: first and pooled is what is so on every way through it.
    """
    tail = {"GlobalAveragePool", "ReduceMean", "Squeeze", "MatMul", "Gemm", "Softmax"}
    leads_to_one: set[str] = set()  # names of values that a convolution comes after
    for node in reversed(graph.node):
        if node.op_type == "Conv" or leads_to_one.intersection(node.output):
            leads_to_one.update(node.input)
    comes_of_one: set[str] = set()  # of values that one comes before
    pooled: set[str] = set()
    outside = []
    for node in graph.node:
        first = node.op_type != "Conv" and not comes_of_one.intersection(node.input)
        comes_of_one.update(() if first else node.output)
        last = not leads_to_one.intersection(node.output)
        late = last and (node.op_type in tail or bool(pooled.intersection(node.input)))
        pooled.update(node.output if late else ())
        if first or late:
            outside.append(node.name)
    return outside


def _with_averages_as_convolutions(model: Any) -> Any:
    """Means over neighbours as convolutions with equal weights: in 8 bits the former have no quick kernel."""
    import onnx
    from onnx import helper, numpy_helper

    shapes = {one.name: one.type.tensor_type.shape for one in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for number, node in enumerate(model.graph.node):
        options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        padded = any(options.get("pads", ())) or options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        known = node.op_type == "AveragePool" and node.input[0] in shapes
        if not known or padded or options.get("ceil_mode") or "dilations" in options:
            continue
        channels, kernel = shapes[node.input[0]].dim[1].dim_value, options["kernel_shape"]
        weights = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, f"mean_{number}"))
        told = {"group": channels, "kernel_shape": kernel, "strides": options.get("strides", [1] * len(kernel))}
        node.CopyFrom(helper.make_node("Conv", [node.input[0], f"mean_{number}"], node.output, node.name, **told))
    return model


def _balanced(probabilities: np.ndarray, examples: Examples) -> float:
    matrix = confusion(examples.truth, probabilities.argmax(axis=1), len(examples.classes))
    return float(balanced_accuracy(matrix))
