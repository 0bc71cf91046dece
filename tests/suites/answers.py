"""Made-up models: what they say about images, measured, and as entries of a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.packages import package_info
from training.comparing.comparison import Entry
from training.comparing.explained import Explained
from training.comparing.measured import Answered, Measured, answered, measure_part
from training.comparing.slices import slices_on


def answers(truth: np.ndarray, right: float, seed: int, classes: int = 2) -> Answered:
    """A model that is right about a share of the images, and surer where it is."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(truth)) < right, truth, (truth + 1) % classes)
    logits = 2.2 * np.eye(classes)[said] + 0.3 * rng.normal(size=(len(truth), classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = ("BRIGHT", "DARK") if classes == 2 else tuple("abcd"[:classes])
    positive = {} if classes == 2 else {"positive_class": None, "threshold": None}
    return answered(package_info(classes=names, **positive), shares, seconds=0.5 + seed)


def measured(truth: np.ndarray, groups: np.ndarray | None = None, **shares: float) -> list[Measured]:
    told = {name: answers(truth, share, seed) for seed, (name, share) in enumerate(shares.items())}
    return measure_part("test", truth, np.arange(len(truth)) if groups is None else groups, told)


def entry(found: Measured, rate: float) -> Entry:
    result = {"config": found.config, "run_id": "r", "package_id": "p", "seconds": 1.0}
    seconds = 2 * len(found.truth) / rate
    timed = Answered(found.info, found.probabilities, found.labels, seconds / 2)
    told = [Measured(found.config, "test", timed, *_rest(found)) for _ in "vt"]
    return Entry(result, told[0], told[1], 1000, slices_on(found, {}, 30), (), Explained("", ()))


def _rest(found: Measured) -> tuple[Any, ...]:
    return found.metrics, found.truth, found.groups, found.intervals, found.resamples
