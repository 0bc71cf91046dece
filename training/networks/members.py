"""What a fit of a network consists of: its members one after the other, their mean as a graph, in 8 bits if wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from training.data import Examples
from training.kinds import Fitted, Job, later_epochs
from training.networks.keras_engine import Build, OnEpoch, Trained, mean_of, to_onnx, train_network
from training.networks.quantize import quantized

log = logging.getLogger(__name__)

SEED_STEP = 1_000_003  # between the members of one config
TrainOne = Callable[[int, OnEpoch], Trained]


def fit_network(job: Job, build: Build) -> Fitted:
    """Trains what ``build`` makes on the job's train and val, and hands it over as an ONNX graph."""
    train, val = job.examples("train"), job.examples("val")

    def train_one(seed: int, on_epoch: OnEpoch) -> Trained:
        return train_network(job.config, build, train, val, seed, on_epoch, job.team)

    return fit_members(job, train_one, train, val)


def fit_members(job: Job, train_one: TrainOne, train: Examples, val: Examples) -> Fitted:
    """Trains as many members as the config says, and hands over their mean as an ONNX graph of as many bits.

    Each member has its own seed. Their mean knows better how sure it may be than any of them, above all of images
    unlike those of training (Lakshminarayanan et al. 2017, arXiv 1612.01474).
    """
    members: list[Any] = []
    history: list[dict[str, float]] = []
    facts: dict[str, float] = {"fit_seconds": 0.0}
    for number in range(job.config.members):
        if job.config.members > 1:
            log.info("Member %d of %d", number + 1, job.config.members)
        seed = job.seed + SEED_STEP * number
        model, rows, best_epoch, seconds = train_one(seed, later_epochs(job.on_step, len(history)))
        facts["fit_seconds"] += seconds
        facts["best_epoch"] = len(history) + best_epoch
        members.append(model)
        history += rows
    facts["parameters"] = sum(model.count_params() for model in members)
    graph = to_onnx(members[0] if len(members) == 1 else mean_of(members))
    graph, measured = quantized(job, graph, train, val)
    return Fitted(graph, {**facts, **measured}, history)
