"""A kind for tests that fits in milliseconds: the distance to each class's mean image, sharpened in steps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from darkroom.errors import DataError, MachineryError
from tests.kinds import FITTED
from training.classical.linear_graph import linear_graph
from training.config import Options, TrainingConfig
from training.kinds import Fitted, Job

RUNS_IN: Literal["python", "spark"] = "python"


class Shape(Options):
    """Options below another one."""

    corners: tuple[int, ...] = (1, 2)


class Config(TrainingConfig):
    """``sharpness`` scales the margins; at 0 the classes cannot be told apart."""

    kind: Literal["by_mean"] = "by_mean"
    sharpness: float = 1.0
    steps: int = 3
    broken: tuple[int, ...] = ()  # the fits, counted from 1, that fail as only the user can help
    killed: tuple[int, ...] = ()  # those that fail as a machine does
    shape: Shape = Shape()


def fit(job: Job) -> Fitted:
    FITTED.append(job)
    config = job.config
    if len(FITTED) in config.broken:
        raise DataError("this fit fails on purpose")
    if len(FITTED) in config.killed:
        raise MachineryError("this machine is gone on purpose")
    train, val = job.examples("train"), job.examples("val")
    means = []
    for k in range(len(train.classes)):
        mine = train.truth == k
        shown = (train.weight * train.copies)[mine]
        means.append(np.average(train.pixels[mine].reshape(mine.sum(), -1) / 255, axis=0, weights=shown))
    weights = np.array(means)
    history = []
    for step in range(1, config.steps + 1):
        scale = config.sharpness * step / config.steps
        coefficients, intercepts = scale * weights, -scale * (weights**2).sum(1) / 2
        margins: Any = val.pixels.reshape(len(val), -1) / 255 @ coefficients.T + intercepts
        margins -= margins.max(axis=1, keepdims=True)
        shares = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
        row = {"val_loss": float(-np.log(np.maximum(shares[np.arange(len(val)), val.truth], 1e-7)).mean())}
        history.append(row)
        job.on_step(step, row)
    return Fitted(linear_graph(coefficients, intercepts, train.pixels.shape[1:]), {"steps": config.steps}, history)
