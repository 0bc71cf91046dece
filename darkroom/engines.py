"""What answers inside a loaded package: ONNX Runtime with a graph, or a process of its own with a pyfunc model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from darkroom.errors import ModelError
from darkroom.graph_check import check_graph
from darkroom.package import GRAPH, PYFUNC, Package
from darkroom.pyfunc.engine import PyfuncEngine

PIXELS, VECTORS = "tensor(uint8)", "tensor(float)"  # what a graph takes: images, what features make of them, or both


class Engine(Protocol):
    """What ``darkroom.model.Model`` asks."""

    @property
    def outputs(self) -> int:
        """How many arrays it has for a batch: 1, probabilities; 2, an embedding too; 3, a map too."""

    def run(self, pixels: np.ndarray, outputs: Sequence[int]) -> list[np.ndarray]:
        """Some of its outputs for one batch, uint8[N, H, W, C] of the package's own shape."""


class GraphEngine:
    """The package's graph in ONNX Runtime."""

    def __init__(self, package: Package, threads: int) -> None:
        import onnxruntime

        self._features = package.features
        check_graph(package.content)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(package.content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many private types
            raise ModelError(
                f"ONNX Runtime cannot load the model of {package.info.config}: {error}. Train it again."
            ) from error
        expected = [[PIXELS]] if self._features is None else [[VECTORS], [PIXELS, VECTORS]]
        inputs = sorted((entry.type for entry in self._session.get_inputs()), reverse=True)
        if inputs not in expected:
            raise ModelError(f"The model takes {inputs}. Expected {' or '.join(map(str, expected))}.")

    @property
    def outputs(self) -> int:
        return len(self._session.get_outputs())

    def run(self, pixels: np.ndarray, outputs: Sequence[int]) -> list[np.ndarray]:
        names = [self._session.get_outputs()[output].name for output in outputs]
        found: list[np.ndarray] = self._session.run(names, self._fed(pixels))
        return found

    def _fed(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """What each input of the graph takes of a batch of images: pixels, or the vectors that the features make."""
        fed = {}
        for taken in self._session.get_inputs():
            values = pixels if self._features is None or taken.type == PIXELS else self._features.apply(pixels)
            fed[taken.name] = np.ascontiguousarray(values)
        return fed


ENGINES: dict[str, Callable[[Package, int], Engine]] = {GRAPH: GraphEngine, PYFUNC: PyfuncEngine}
