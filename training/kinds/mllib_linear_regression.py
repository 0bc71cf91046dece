"""A linear regression on 0 and 1, cut to 0..1 and read as a probability, trained by Spark MLlib.

Of more than two classes each has its own regression, and what they give is divided by its sum.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from training.classical.graphs import GraphWriter, graph_probabilities
from training.classical.mllib import MllibConfig, against_rest, columns, fit_parts, val_of
from training.classical.threshold_table import threshold_files
from training.classical.trials import Trial, Tried, trials_of
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from training.classical.mllib import Parts

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(MllibConfig):
    """Options of MLlib's LinearRegression."""

    kind: Literal["mllib_linear_regression"] = "mllib_linear_regression"
    regularization: tuple[float, ...] = Field(
        default=(0.01, 0.1, 1.0), min_length=1, description="Tried in turn; val loss chooses."
    )
    elastic_net: float = Field(default=0.0, ge=0, le=1, description="0 is a ridge, 1 a lasso.")
    max_iterations: int = Field(default=100, ge=1, le=10_000, description="Of one fit at most.")
    tolerance: float = Field(default=1e-6, gt=0, description="A fit ends where it gains less.")
    standardize: bool = Field(default=True, description="Whether values are scaled to one spread.")


def fit(job: Job) -> Fitted:
    """Fits one model for each regularisation and keeps the one with the lowest loss on val.

    Its facts have ``val_rmse`` and ``val_r2``, of predictions before they are cut, against 0 and 1. With two classes
    the accuracy on val by threshold comes along, as a picture and a table.
    """
    fitted = fit_parts(job, trials_of(regularization=job.config.regularization), partial(fit_one, job.config))
    if len(job.classes) > 2:
        return fitted
    inputs, truth = val_of(job)
    positive = graph_probabilities(fitted.graph, inputs)[:, 1]
    return replace(fitted, figures=threshold_files(job.config.name, truth == 1, positive, job.classes[1]))


def fit_one(config: Config, parts: Parts, trial: Trial) -> Tried:
    """Models of MLlib, one a class (of two the second's), and their graph."""
    from pyspark.ml.regression import LinearRegression

    regression = LinearRegression(
        **columns(),
        regParam=trial["regularization"],
        elasticNetParam=config.elastic_net,
        maxIter=config.max_iterations,
        tol=config.tolerance,
        standardization=config.standardize,
    )
    models = against_rest(parts, regression.fit)
    coefficients = np.stack([model.coefficients.toArray() for model in models])
    intercepts = np.array([model.intercept for model in models])
    graph = GraphWriter(parts.shape)
    zero, one = graph.constant(np.float64(0)), graph.constant(np.float64(1))
    cut = graph.node("Clip", graph.affine(graph.doubles, coefficients.T, intercepts), zero, one)
    shares = graph.shares(cut) if len(models) > 1 else graph.beside_rest(cut)
    wanted = np.eye(parts.classes)[parts.truth][:, -len(models) :]
    facts = regression_facts(wanted, parts.values @ coefficients.T + intercepts)
    return Tried(models, graph.finish(shares, parts.classes), facts)


def regression_facts(wanted: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Root of the mean squared error, and R², the share of the variance that is explained, of float[N, K]."""
    squares = (wanted - predicted) ** 2
    variance = ((wanted - wanted.mean(axis=0)) ** 2).sum()
    facts = {"val_rmse": float(np.sqrt(squares.mean()))}
    if variance:  # none where val has one class alone
        facts["val_r2"] = float(1 - squares.sum() / variance)
    return facts
