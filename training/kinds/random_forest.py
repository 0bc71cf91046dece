"""A random forest on features (Breiman 2001, doi 10.1023/A:1010933404324), by scikit-learn."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from training.classical.heads import HeadConfig, fit_head
from training.classical.tree_graph import Tree, forest_graph
from training.classical.trials import Trial, Tried, trials_of
from training.classical.vectors import Vectors
from training.kinds import Fitted, Job

RUNS_IN: Literal["python", "spark"] = "python"


class Config(HeadConfig):
    """Options of scikit-learn's RandomForestClassifier."""

    kind: Literal["random_forest"] = "random_forest"
    trees: int = Field(default=200, ge=1, le=2000, description="Of which every one counts alike.")
    leaf_images: tuple[int, ...] = Field(
        default=(1, 4), min_length=1, description="Least images in a leaf. Tried in turn; val loss chooses."
    )
    feature_share: float | None = Field(
        default=None, gt=0, le=1, description="Share of the features that a node may choose from. Empty: their root."
    )
    max_depth: int | None = Field(default=None, ge=1, le=100, description="Of a tree. Empty: as deep as it gets.")


def fit(job: Job) -> Fitted:
    """Fits one forest for each size of leaves and keeps the one with the lowest loss on val."""
    config: Config = job.config
    return fit_head(job, trials_of(leaf_images=config.leaf_images), partial(fit_one, config, job.seed))


def fit_one(config: Config, seed: int, train: Vectors, val: Vectors, trial: Trial) -> Tried:
    """A RandomForestClassifier and its graph."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        config.trees,
        min_samples_leaf=int(trial["leaf_images"]),
        max_features=config.feature_share or "sqrt",
        max_depth=config.max_depth,
        n_jobs=-1,
        random_state=seed,
    )
    model.fit(train.values, train.truth, train.weight)
    trees = [
        Tree(
            one.feature, one.threshold, one.children_left, one.children_right, one.value[:, 0] / len(model.estimators_)
        )
        for one in (estimator.tree_ for estimator in model.estimators_)
    ]
    return Tried(model, forest_graph(trees, train.values.shape[1:]), {"nodes": sum(len(tree.left) for tree in trees)})
