"""A multinomial logistic regression on pixels scaled to 0..1, trained by Spark MLlib."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from darkroom.metrics import balanced_accuracy, confusion
from training.config import TrainingConfig
from training.kinds import Fitted, Job
from training.linear_graph import linear_graph

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(TrainingConfig):
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
    from training.mllib import session

    started = time.monotonic()
    with session() as spark:
        model, history, best = fit_models(spark, job)
        graph = linear_graph(*_weights(model), job.config.transform.shape)
    kept = job.config.regularization[best]
    log.info("Kept regularization %g", kept)
    return Fitted(graph, {"fit_seconds": time.monotonic() - started, "kept_regularization": kept}, history)


def fit_models(spark: SparkSession, job: Job) -> tuple[Any, list[dict[str, float]], int]:
    """The pyspark.ml LogisticRegressionModel that is kept, the metrics of each that was tried, and its position.

    The loss on val weighs every class alike.
    """
    from pyspark.ml.classification import LogisticRegression

    from training.mllib import vector_parts

    config: Config = job.config
    history: list[dict[str, float]] = []
    models = []
    with vector_parts(spark, job) as parts:
        for number, strength in enumerate(config.regularization, 1):
            began = time.monotonic()
            regression = LogisticRegression(
                featuresCol="features",
                labelCol="truth",
                weightCol="weight",
                family="multinomial",
                regParam=strength,
                elasticNetParam=config.elastic_net,
                maxIter=config.max_iterations,
                tol=config.tolerance,
                standardization=config.standardize,
            )
            model = regression.fit(parts.train)
            models.append(model)
            row = {
                "regularization": strength,
                **_on_val(model, parts.truth, parts.features, len(job.classes)),
                "iterations": float(model.summary.totalIterations),
                "seconds": time.monotonic() - began,
            }
            history.append(row)
            job.on_step(number, row)
            left = row["seconds"] * (len(config.regularization) - number)
            log.info(
                "fit %d/%d  strength %g  val loss %.3f  val balanced accuracy %.3f  %d iterations  %.1f s, %.0f s left",
                *(number, len(config.regularization), strength, row["val_loss"], row["val_balanced_accuracy"]),
                *(row["iterations"], row["seconds"], left),
            )
    best = int(np.argmin([row["val_loss"] for row in history]))
    return models[best], history, best


def _on_val(model: Any, truth: np.ndarray, features: np.ndarray, classes: int) -> dict[str, float]:
    coefficients, intercepts = _weights(model)
    margins = features @ coefficients.T + intercepts
    margins -= margins.max(axis=1, keepdims=True)
    shares = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    weight = (1.0 / np.maximum(np.bincount(truth, minlength=classes), 1))[truth]
    loss = np.average(-np.log(np.clip(shares[np.arange(len(truth)), truth], 1e-7, 1)), weights=weight)
    matrix = confusion(truth, shares.argmax(axis=1), classes)
    return {"val_loss": float(loss), "val_balanced_accuracy": float(balanced_accuracy(matrix))}


def _weights(model: Any) -> tuple[np.ndarray, np.ndarray]:
    return model.coefficientMatrix.toArray(), model.interceptVector.toArray()
