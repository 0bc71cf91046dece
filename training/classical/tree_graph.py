"""Decision trees of any library as nodes of ONNX's TreeEnsembleRegressor.

It compares in float32, while libraries keep thresholds in float64. Of a float32 x, x <= t holds just when it holds for
the largest float32 that is not above t, so thresholds are rounded down and every image takes the same branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.classical.graphs import GraphWriter


@dataclass(frozen=True)
class Tree:
    """A binary tree, a row a node, the root first. A node goes ``left`` where x[feature] <= threshold."""

    feature: np.ndarray  # int64[M]; what a leaf has there does not matter
    threshold: np.ndarray  # float64[M]; likewise
    left: np.ndarray  # int64[M], the row of the child; negative: a leaf
    right: np.ndarray
    value: np.ndarray  # float64[M, targets]; what an inner node has there does not matter


def tree_sums(graph: GraphWriter, trees: Sequence[Tree]) -> str:
    """Float64[N, targets]: the values of the leaves that a vector falls into, summed over all trees."""
    from onnx import TensorProto

    sizes = [len(tree.left) for tree in trees]
    targets = trees[0].value.shape[1]
    tree_of = np.repeat(np.arange(len(trees)), sizes)
    row_of = np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([tree.left for tree in trees]) < 0
    value = np.concatenate([tree.value for tree in trees])[leaf]
    attributes: dict[str, Any] = {
        "n_targets": targets,
        "nodes_treeids": tree_of,
        "nodes_nodeids": row_of,
        "nodes_featureids": np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
        "nodes_values": np.where(leaf, 0, rounded_down(np.concatenate([tree.threshold for tree in trees]))),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
        "nodes_truenodeids": np.where(leaf, 0, np.concatenate([tree.left for tree in trees])),
        "nodes_falsenodeids": np.where(leaf, 0, np.concatenate([tree.right for tree in trees])),
        "target_treeids": np.repeat(tree_of[leaf], targets),
        "target_nodeids": np.repeat(row_of[leaf], targets),
        "target_ids": np.tile(np.arange(targets), int(leaf.sum())),
        "target_weights": value.astype(np.float32).ravel(),
    }
    plain = {name: one.tolist() if isinstance(one, np.ndarray) else one for name, one in attributes.items()}
    sums = graph.node("TreeEnsembleRegressor", graph.singles, domain="ai.onnx.ml", **plain)
    return graph.node("Cast", sums, to=TensorProto.DOUBLE)


def rounded_down(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each float64."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def forest_graph(trees: Sequence[Tree], shape: Sequence[int]) -> bytes:
    """The graph of trees that vote: each leaf's value is its share of each class, and every tree counts alike."""
    graph = GraphWriter(shape)
    return graph.finish(graph.shares(tree_sums(graph, trees)), trees[0].value.shape[1])
