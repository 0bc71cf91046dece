"""A multinomial logistic regression on pixels scaled to 0..1 or on features, trained by Spark MLlib."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.classical.linear_graph import linear_graph
from training.classical.mllib import MllibConfig, columns, fit_parts
from training.classical.trials import Trial, Tried, trials_of
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from training.classical.mllib import Parts

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(MllibConfig):
    """Options of MLlib's LogisticRegression."""

    kind: Literal["mllib_logistic_regression"] = "mllib_logistic_regression"
    regularization: tuple[float, ...] = Field(
        default=(0.01,), min_length=1, description="Tried in turn; val loss chooses."
    )
    elastic_net: float = Field(default=0.0, ge=0, le=1, description="0 is a ridge, 1 a lasso.")
    max_iterations: int = Field(default=100, ge=1, le=10_000, description="Of one fit at most.")
    tolerance: float = Field(default=1e-6, gt=0, description="A fit ends where it gains less.")
    standardize: bool = Field(default=True, description="Whether pixels are scaled to one spread.")


def fit(job: Job) -> Fitted:
    """Fits one model for each regularisation and keeps the one with the lowest loss on val."""
    return fit_parts(job, trials_of(regularization=job.config.regularization), partial(fit_one, job.config))


def fit_one(config: Config, parts: Parts, trial: Trial) -> Tried:
    """A LogisticRegressionModel and its graph."""
    from pyspark.ml.classification import LogisticRegression

    regression = LogisticRegression(
        **columns(),
        family="multinomial",
        regParam=trial["regularization"],
        elasticNetParam=config.elastic_net,
        maxIter=config.max_iterations,
        tol=config.tolerance,
        standardization=config.standardize,
    )
    model = regression.fit(parts.train)
    graph = linear_graph(model.coefficientMatrix.toArray(), model.interceptVector.toArray(), parts.shape)
    return Tried(model, graph, {"iterations": float(model.summary.totalIterations)})
