"""What a training's configs are compared by: everything that the page shows and ``comparison.json`` keeps.

The JSON is described in docs/evaluation.md; ``FORMAT_VERSION`` rises when a field changes its meaning or goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.metrics import METRIC_NAMES
from darkroom.resampling import RESAMPLED, rounds_for
from training.comparing.differences import Compared
from training.comparing.explained import Explained
from training.comparing.measured import LEVEL, Measured
from training.comparing.mistakes import Mistake
from training.comparing.slices import Slices

FORMAT, FORMAT_VERSION = "darkroom.comparison", 1


@dataclass(frozen=True)
class Entry:
    """One config: what training it returned, how it does on val and test, what it costs, where it is wrong."""

    result: Mapping[str, Any]
    val: Measured
    test: Measured
    package_bytes: int | None
    slices: Slices
    mistakes: Sequence[Mistake]
    explained: Explained

    @property
    def config(self) -> str:
        return str(self.result["config"])

    @property
    def images_per_second(self) -> float | None:
        """Of ``Model.predict`` over val and test; decoding is not counted, and the pixels are in memory."""
        seconds = self.val.answers.seconds + self.test.answers.seconds
        return (len(self.val.truth) + len(self.test.truth)) / seconds if seconds > 0 else None

    def as_dict(self, on_front: bool) -> dict[str, Any]:
        info = self.test.info
        return {
            "config": self.config,
            "kind": self.result.get("kind"),
            "run_id": self.result["run_id"],
            "package_id": self.result["package_id"],
            "threshold": info.threshold,
            "temperature": info.temperature,
            "notes": list(info.notes),
            "train_seconds": self.result["seconds"],
            "package_bytes": self.package_bytes,
            "images_per_second": self.images_per_second,
            "on_pareto_front": on_front,
            "val": measured_as_dict(self.val),
            "test": measured_as_dict(self.test),
            "slices": self.slices.as_dict(),
            "mistakes": [
                {"content_id": m.content_id, "path": m.path, "truth": m.truth, "said": m.said, "score": m.score}
                for m in self.mistakes
            ],
        }


@dataclass(frozen=True)
class AgainstChampion:
    """The challenger against the champion, on the test images that the champion was not trained on.

    ``reason`` says why there is no comparison; ``left_out`` counts the images that the champion was trained on.
    """

    champion: str
    images: int = 0
    left_out: int = 0
    compared: Sequence[Compared] = ()
    sentence: str = ""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "champion": self.champion,
            "images": self.images,
            "left_out_as_trained_on": self.left_out,
            "differences": [one.as_dict() for one in self.compared],
            "sentence": self.sentence,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Comparison:
    """A training's configs, best on test first, and what can be said of their differences."""

    plan: Mapping[str, Any]
    challenger: Mapping[str, Any]
    entries: Sequence[Entry]
    compared: Sequence[Compared]
    sentence: str
    champion: AgainstChampion | None

    @property
    def metric(self) -> str:
        return str(self.plan["primary_metric"])

    @property
    def best(self) -> Entry:
        """The challenger's entry."""
        return next(one for one in self.entries if one.config == self.challenger["config"])

    def as_dict(self) -> dict[str, Any]:
        """The content of comparison.json: numbers, texts, lists and nulls only, never NaN."""
        front = pareto_front(self.entries, self.metric)
        images = len(self.best.test.truth)
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **{name: self.plan[name] for name in ("dataset", "version", "split_id", "model", "primary_metric")},
            "parent_run_id": self.plan["parent_run_id"],
            "level": LEVEL,
            "bootstrap_rounds": rounds_for(images, len(self.best.test.info.classes)),
            "classes": list(self.best.test.info.classes),
            "challenger": self.challenger["config"],
            "sentence": self.sentence,
            "notes": notes_on(self),
            "configs": [one.as_dict(one.config in front) for one in self.entries],
            "differences": [one.as_dict() for one in self.compared],
            "champion": None if self.champion is None else self.champion.as_dict(),
        }


def measured_as_dict(measured: Measured) -> dict[str, Any]:
    """Every metric with its interval, what is not defined and why, and the counts behind them."""
    kept = {name: measured.metrics[name] for name in ("count", "precision", "recall", "support", "confusion")}
    metrics = {}
    for name in RESAMPLED:
        bounds = measured.intervals[name]
        low, high = bounds if bounds else (None, None)
        metrics[name] = {"value": measured.metrics[name], "low": low, "high": high}
    for name in ("ece_before", "log_loss_before"):
        metrics[name] = {"value": measured.metrics[name], "low": None, "high": None}
    groups = len(np.unique(measured.groups))
    return {"metrics": metrics, "undefined": dict(measured.metrics["undefined"]), "groups": groups, **kept}


def best_first(entries: Sequence[Entry], metric: str) -> list[Entry]:
    """By the metric on test; those without it last, equal ones by name."""

    def order(entry: Entry) -> tuple[bool, float, str]:
        value = entry.test.metrics[metric]
        return (value is None, -(value or 0.0), entry.config)

    return sorted(entries, key=order)


def pareto_front(entries: Sequence[Entry], metric: str) -> list[str]:
    """The configs that no other beats in quality without being slower; from fast to slow."""
    points = [
        (one.images_per_second, one.test.metrics[metric], one.config)
        for one in entries
        if one.images_per_second is not None and one.test.metrics[metric] is not None
    ]
    front, best = [], -np.inf
    for _, quality, name in sorted(points, key=lambda point: (-(point[0] or 0.0), -point[1], point[2])):
        if quality > best:
            front.append(name)
            best = quality
    return front


def notes_on(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the figures."""
    test = comparison.best.test
    images, groups = len(test.truth), len(np.unique(test.groups))
    notes = []
    if groups < images:
        notes.append(
            f"The {images:,} test images come from {groups:,} groups (patients, say). Images of a group are not "
            "independent, so every interval and p-value counts groups."
        )
    right = [one.config for one in comparison.entries if one.test.metrics["accuracy"] == 1.0]
    if right:
        notes.append(
            f"{_listed(right)} made no mistake on test. A bootstrap sees no spread there; by the rule of three, an "
            f"error rate of up to {min(1.0, 3 / groups):.1%} is not excluded."
        )
    undefined = {f"{METRIC_NAMES.get(m, m)}: {why}" for one in comparison.entries for m, why in _missing(one.test)}
    notes += [f"Not defined on test, {text}." for text in sorted(undefined)]
    for one in comparison.entries:
        notes += [f"{one.config}: {note}" for note in one.test.info.notes if "as near as can be" in note]
    return notes


def _missing(measured: Measured) -> list[tuple[str, str]]:
    return [(name, why) for name, why in measured.metrics["undefined"].items() if name in METRIC_NAMES]


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:5])
    if len(names) > len(shown):
        shown.append(f"{len(names) - 5} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
