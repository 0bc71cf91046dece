"""Gradient boosted trees on pixels or features (Friedman 2001), trained by Spark MLlib.

MLlib boosts two classes only: of more, each is boosted against the rest, and what they give is divided by its sum.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from training.classical.graphs import GraphWriter
from training.classical.mllib import MllibConfig, against_rest, columns, fit_parts
from training.classical.mllib_trees import mllib_tree
from training.classical.tree_graph import Tree, tree_sums
from training.classical.trials import Trial, Tried, trials_of
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from training.classical.mllib import Parts

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(MllibConfig):
    """Options of MLlib's GBTClassifier."""

    kind: Literal["mllib_gbt"] = "mllib_gbt"
    rounds: tuple[int, ...] = Field(
        default=(20,), min_length=1, description="Trees of a class. Tried in turn; val loss chooses."
    )
    depth: int = Field(default=4, ge=1, le=30, description="Of a tree at most.")
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="What share of a tree counts.")
    leaf_images: int = Field(default=5, ge=1, description="Least images in a leaf.")
    bins: int = Field(default=32, ge=2, le=1024, description="Thresholds of a value that are tried, and one more.")


def fit(job: Job) -> Fitted:
    """Fits one model for each number of rounds and keeps the one with the lowest loss on val."""
    return fit_parts(job, trials_of(rounds=job.config.rounds), partial(fit_one, job.config, job.seed))


def fit_one(config: Config, seed: int, parts: Parts, trial: Trial) -> Tried:
    """Models of MLlib, one a class (of two the second's), and their graph."""
    from pyspark.ml.classification import GBTClassifier

    boosting = GBTClassifier(
        **columns(),
        maxIter=int(trial["rounds"]),
        maxDepth=config.depth,
        stepSize=config.learning_rate,
        minInstancesPerNode=config.leaf_images,
        maxBins=config.bins,
        seed=seed,
    )
    models = against_rest(parts, boosting.fit)
    trees = [tree for row, model in enumerate(models) for tree in _trees(model, row, len(models))]
    graph = GraphWriter(parts.shape)
    each = graph.node("Sigmoid", tree_sums(graph, trees))
    shares = graph.shares(each) if len(models) > 1 else graph.beside_rest(each)
    return Tried(models, graph.finish(shares, parts.classes), {"nodes": sum(len(tree.left) for tree in trees)})


def _trees(model: Any, row: int, rows: int) -> list[Tree]:
    """The model's trees, which add to margin number ``row``. MLlib's probability is the sigmoid of twice their sum."""
    found = []
    for tree, weight in zip(model.trees, model.treeWeights, strict=True):
        plain = mllib_tree(tree, statistics=False)
        value = np.zeros((len(plain.left), rows))
        value[:, row] = 2 * weight * plain.value[:, 0]
        found.append(Tree(plain.feature, plain.threshold, plain.left, plain.right, value))
    return found
