"""A linear classifier as an ONNX graph, so that it predicts through the same door as any network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.classical.graphs import GraphWriter


def linear_graph(coefficients: np.ndarray, intercepts: np.ndarray, shape: Sequence[int]) -> bytes:
    """softmax(W·x + b) over pixels x scaled to 0..1, flattened in C order, or over vectors of features.

    ``coefficients`` float[classes, D], ``intercepts`` float[classes]; ``shape`` as GraphWriter takes it. Sums run in
    float64.
    """
    graph = GraphWriter(shape)
    margins = graph.affine(graph.doubles, coefficients.T, intercepts)
    return graph.finish(graph.node("Softmax", margins, axis=1), len(intercepts))


def two_rows(coefficients: np.ndarray, intercepts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[classes, D] and [classes] of a model that has one row, the second class's, where there are two classes."""
    if len(coefficients) > 1:
        return coefficients, intercepts
    return np.vstack([np.zeros_like(coefficients), coefficients]), np.concatenate([[0.0], intercepts])
