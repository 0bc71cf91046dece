"""A random forest on pixels or features, trained by Spark MLlib."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.classical.mllib import MllibConfig, columns, fit_parts
from training.classical.mllib_trees import mllib_tree
from training.classical.tree_graph import forest_graph
from training.classical.trials import Trial, Tried, trials_of
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from training.classical.mllib import Parts

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(MllibConfig):
    """Options of MLlib's RandomForestClassifier."""

    kind: Literal["mllib_random_forest"] = "mllib_random_forest"
    depth: tuple[int, ...] = Field(
        default=(5, 10), min_length=1, description="Of a tree at most. Tried in turn; val loss chooses."
    )
    trees: int = Field(default=50, ge=1, le=1000, description="Of which every one counts alike.")
    leaf_images: int = Field(default=1, ge=1, description="Least images in a leaf.")
    bins: int = Field(default=32, ge=2, le=1024, description="Thresholds of a value that are tried, and one more.")


def fit(job: Job) -> Fitted:
    """Fits one forest for each depth and keeps the one with the lowest loss on val."""
    return fit_parts(job, trials_of(depth=job.config.depth), partial(fit_one, job.config, job.seed))


def fit_one(config: Config, seed: int, parts: Parts, trial: Trial) -> Tried:
    """A RandomForestClassificationModel and its graph."""
    from pyspark.ml.classification import RandomForestClassifier

    forest = RandomForestClassifier(
        **columns(),
        numTrees=config.trees,
        maxDepth=int(trial["depth"]),
        minInstancesPerNode=config.leaf_images,
        maxBins=config.bins,
        seed=seed,
    )
    model = forest.fit(parts.train)
    trees = [mllib_tree(tree, statistics=True) for tree in model.trees]
    return Tried(model, forest_graph(trees, parts.shape), {"nodes": sum(len(tree.left) for tree in trees)})
