"""Gradient boosted trees on features, by scikit-learn's histogram method (after LightGBM, Ke et al. 2017)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field

from training.classical.graphs import GraphWriter
from training.classical.heads import HeadConfig, fit_head
from training.classical.tree_graph import Tree, tree_sums
from training.classical.trials import Trial, Tried, trials_of
from training.classical.vectors import Vectors
from training.data import equal_classes
from training.kinds import Fitted, Job

RUNS_IN: Literal["python", "spark"] = "python"


class Config(HeadConfig):
    """Options of scikit-learn's HistGradientBoostingClassifier."""

    kind: Literal["gradient_boosting"] = "gradient_boosting"
    leaves: tuple[int, ...] = Field(
        default=(7, 31), min_length=1, description="Most leaves of a tree. Tried in turn; val loss chooses."
    )
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="What share of a tree counts.")
    rounds: int = Field(default=200, ge=1, le=10_000, description="Most trees of a class.")
    patience: int = Field(default=15, ge=1, description="Rounds without a better val loss before it ends.")
    leaf_images: int = Field(default=10, ge=1, description="Least images in a leaf.")
    l2: float = Field(default=1.0, ge=0, description="Penalty on large values of leaves.")


def fit(job: Job) -> Fitted:
    """Fits one model for each size of trees until val gets no better; keeps the one with the lowest loss on val."""
    config: Config = job.config
    return fit_head(job, trials_of(leaves=config.leaves), partial(fit_one, config, job.seed))


def fit_one(config: Config, seed: int, train: Vectors, val: Vectors, trial: Trial) -> Tried:
    """A HistGradientBoostingClassifier and its graph."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=config.learning_rate,
        max_iter=config.rounds,
        max_leaf_nodes=int(trial["leaves"]),
        min_samples_leaf=config.leaf_images,
        l2_regularization=config.l2,
        early_stopping=True,
        n_iter_no_change=config.patience,
        random_state=seed,
    )
    model.fit(
        train.values,
        train.truth,
        train.weight,
        X_val=val.values,
        y_val=val.truth,
        sample_weight_val=equal_classes(val.truth, len(val.classes)),
    )
    return Tried(model, _graph(model, train.values.shape[1:]), {"rounds": model.n_iter_})


def _graph(model: Any, shape: tuple[int, ...]) -> bytes:
    rounds = model._predictors  # the trees are in no public attribute
    margins = len(rounds[0])  # one of two classes, else one a class
    trees = [_tree(one.nodes, margin, margins) for each in rounds for margin, one in enumerate(each)]
    graph = GraphWriter(shape)
    baseline = graph.constant(model._baseline_prediction.reshape(1, -1).astype(np.float64))
    total = graph.node("Add", tree_sums(graph, trees), baseline)
    if margins == 1:
        return graph.finish(graph.beside_rest(graph.node("Sigmoid", total)), 2)
    return graph.finish(graph.node("Softmax", total, axis=1), margins)


def _tree(nodes: np.ndarray, margin: int, margins: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    value = np.zeros((len(nodes), margins))
    value[:, margin] = nodes["value"]
    left, right = (np.where(leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
    return Tree(nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], left, right, value)
