"""A decision tree on pixels or features, trained by Spark MLlib."""

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
    """Options of MLlib's DecisionTreeClassifier."""

    kind: Literal["mllib_decision_tree"] = "mllib_decision_tree"
    depth: tuple[int, ...] = Field(
        default=(3, 5, 8), min_length=1, description="At most. Tried in turn; val loss chooses."
    )
    leaf_images: int = Field(default=5, ge=1, description="Least images in a leaf.")
    bins: int = Field(default=32, ge=2, le=1024, description="Thresholds of a value that are tried, and one more.")


def fit(job: Job) -> Fitted:
    """Fits one tree for each depth and keeps the one with the lowest loss on val."""
    return fit_parts(job, trials_of(depth=job.config.depth), partial(fit_one, job.config, job.seed))


def fit_one(config: Config, seed: int, parts: Parts, trial: Trial) -> Tried:
    """A DecisionTreeClassificationModel and its graph."""
    from pyspark.ml.classification import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        **columns(),
        maxDepth=int(trial["depth"]),
        minInstancesPerNode=config.leaf_images,
        maxBins=config.bins,
        seed=seed,
    )
    model = tree.fit(parts.train)
    return Tried(model, forest_graph([mllib_tree(model, statistics=True)], parts.shape), {"nodes": model.numNodes})
