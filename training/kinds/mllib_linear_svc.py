"""A linear support vector machine on pixels or features, trained by Spark MLlib.

MLlib's machine knows two classes only: of more, each class has its own against the rest. It gives margins and no
probabilities; those come from a logistic regression on the margins of val, which for two classes is Platt scaling.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from training.classical.heads import margin_calibration
from training.classical.linear_graph import linear_graph, two_rows
from training.classical.mllib import MllibConfig, against_rest, columns, fit_parts
from training.classical.trials import Trial, Tried, trials_of
from training.data import equal_classes
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from training.classical.mllib import Parts

RUNS_IN: Literal["python", "spark"] = "spark"


class Config(MllibConfig):
    """Options of MLlib's LinearSVC."""

    kind: Literal["mllib_linear_svc"] = "mllib_linear_svc"
    regularization: tuple[float, ...] = Field(
        default=(0.01, 0.1), min_length=1, description="Tried in turn; val loss chooses."
    )
    max_iterations: int = Field(default=50, ge=1, le=10_000, description="Of one fit at most.")
    tolerance: float = Field(default=1e-6, gt=0, description="A fit ends where it gains less.")
    standardize: bool = Field(default=True, description="Whether values are scaled to one spread.")


def fit(job: Job) -> Fitted:
    """Fits one machine for each regularisation and keeps the one with the lowest loss on val."""
    return fit_parts(job, trials_of(regularization=job.config.regularization), partial(fit_one, job.config))


def fit_one(config: Config, parts: Parts, trial: Trial) -> Tried:
    """(Models of MLlib, one a class, of two the second's; the regression on their margins) and their graph."""
    from pyspark.ml.classification import LinearSVC

    machine = LinearSVC(
        **columns(),
        regParam=trial["regularization"],
        maxIter=config.max_iterations,
        tol=config.tolerance,
        standardization=config.standardize,
    )
    models = against_rest(parts, machine.fit)
    coefficients = np.stack([model.coefficients.toArray() for model in models])
    intercepts = np.array([model.intercept for model in models])
    margins = parts.values @ coefficients.T + intercepts
    weight = equal_classes(parts.truth, parts.classes)
    calibration = margin_calibration(margins, parts.truth, weight, parts.classes)
    weights, offsets = two_rows(calibration.coef_, calibration.intercept_)
    graph = linear_graph(weights @ coefficients, weights @ intercepts + offsets, parts.shape)
    return Tried((models, calibration), graph)
