"""What one config does on one part of a split: every metric with its interval, and every answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.calibration import without_temperature
from darkroom.metrics import predict_labels, score
from darkroom.package import PackageInfo
from darkroom.resampling import Answers, interval_of, resampled_metrics

LEVEL = 0.95


@dataclass(frozen=True)
class Answered:
    """What a package said about N images: float[N, C], labels int[N], and in how many seconds."""

    info: PackageInfo
    probabilities: np.ndarray
    labels: np.ndarray
    seconds: float = 0.0

    @property
    def scores(self) -> np.ndarray:
        """float64[N]: the probability of the predicted label."""
        return self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)


def answered(info: PackageInfo, probabilities: np.ndarray, seconds: float = 0.0) -> Answered:
    """The labels that go with a package's probabilities."""
    return Answered(info, probabilities, predict_labels(probabilities, positive_of(info), info.threshold), seconds)


@dataclass(frozen=True)
class Measured:
    """One config on one part of a split.

    ``metrics`` are those of ``darkroom.metrics.score``; ``intervals`` and ``resamples`` (float64[rounds] of each
    metric, over the same resamples for every config of the part) come from one bootstrap.
    """

    config: str
    part: str
    answers: Answered
    metrics: Mapping[str, Any]
    truth: np.ndarray
    groups: np.ndarray
    intervals: Mapping[str, tuple[float, float] | None]
    resamples: Mapping[str, np.ndarray]

    @property
    def info(self) -> PackageInfo:
        return self.answers.info

    @property
    def labels(self) -> np.ndarray:
        return self.answers.labels

    @property
    def probabilities(self) -> np.ndarray:
        return self.answers.probabilities

    @property
    def positive(self) -> int | None:
        """The index of the positive class of two."""
        return positive_of(self.info)

    @property
    def milliseconds(self) -> float:
        """To predict one image."""
        return self.answers.seconds * 1000 / max(1, len(self.truth))


def measure_part(part: str, truth: np.ndarray, groups: np.ndarray, answers: Mapping[str, Answered]) -> list[Measured]:
    """All configs on one part of a split, with paired intervals that keep groups whole.

    ``truth`` int[N] with N >= 1 and ``groups`` [N] are the same for every config, and so is the order of the images.
    """
    alone = len(np.unique(groups)) == len(groups)
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for names in _alike(answers):
        models = {name: Answers(answers[name].probabilities, answers[name].labels) for name in names}
        drawn |= resampled_metrics(truth, models, positive_of(answers[names[0]].info), None if alone else groups)
    found = []
    for name, one in answers.items():
        info = one.info
        metrics = score(truth, one.probabilities, info.classes, info.positive_class, predicted=one.labels)
        metrics |= without_temperature(truth, one.probabilities, one.labels, info.temperature)
        # A metric that is not defined on the images has no interval, though some resamples may define it.
        bounds = {
            metric: None
            if metrics[metric] is None
            else interval_of(values, LEVEL, around=metrics[metric] if metric == "ece" else None)
            for metric, values in drawn[name].items()
        }
        found.append(Measured(name, part, one, metrics, truth, groups, bounds, drawn[name]))
    return found


def _alike(answers: Mapping[str, Answered]) -> list[list[str]]:
    """The configs by their positive class, which says of which class the areas are."""
    by_class: dict[str | None, list[str]] = {}
    for name, one in answers.items():
        by_class.setdefault(one.info.positive_class, []).append(name)
    return list(by_class.values())


def positive_of(info: PackageInfo) -> int | None:
    return None if info.positive_class is None else info.classes.index(info.positive_class)


def predictions_path(folder: str, config: str) -> str:
    """Where the answers of a config on test lie in the folder of a training's reports."""
    return f"{folder}/test-{config}.parquet"
