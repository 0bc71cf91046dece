"""A multinomial logistic regression on features, by scikit-learn."""

from __future__ import annotations

import logging
from functools import partial
from typing import Literal

from pydantic import Field

from training.classical.heads import HeadConfig, Scaling, fit_head
from training.classical.linear_graph import linear_graph, two_rows
from training.classical.trials import Trial, Tried, trials_of
from training.classical.vectors import Vectors
from training.kinds import Fitted, Job

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"


class Config(HeadConfig):
    """Options of scikit-learn's LogisticRegression."""

    kind: Literal["logistic_regression"] = "logistic_regression"
    inverse_regularization: tuple[float, ...] = Field(
        default=(0.0003, 0.003, 0.03, 0.3), min_length=1, description="C. Tried in turn; val loss chooses."
    )
    standardize: bool = Field(default=True, description="Give every value of the features the same spread.")
    max_iterations: int = Field(default=1000, ge=1, le=100_000, description="Of one fit at most.")


def fit(job: Job) -> Fitted:
    """Fits one model for each regularisation and keeps the one with the lowest loss on val."""
    config: Config = job.config
    return fit_head(job, trials_of(inverse_regularization=config.inverse_regularization), partial(fit_one, config))


def fit_one(config: Config, train: Vectors, val: Vectors, trial: Trial) -> Tried:
    """A LogisticRegression of scaled features, and its graph, in which the scaling is part of the weights."""
    from sklearn.linear_model import LogisticRegression

    scaling = Scaling.of(train.values, train.weight, config.standardize)
    model = LogisticRegression(C=trial["inverse_regularization"], max_iter=config.max_iterations)
    model.fit(scaling.apply(train.values), train.truth, train.weight)
    if model.n_iter_.max() >= config.max_iterations:
        log.info("Stopped after %s iterations, before it had settled.", config.max_iterations)
    plain = two_rows(*scaling.unscaled(model.coef_, model.intercept_))
    return Tried(model, linear_graph(*plain, train.values.shape[1:]), {"iterations": int(model.n_iter_.max())})
