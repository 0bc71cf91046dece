"""From a trained graph to a model package: temperature, threshold and metrics on val, measured through the package."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from darkroom.calibration import Temperature, calibrated, fit_temperature, without_temperature
from darkroom.codedigest import code_digest
from darkroom.contract import learner_state
from darkroom.metrics import flat_metrics, predict_labels, score
from darkroom.model import Model, load_package, write_package
from darkroom.package import PackageInfo, pack
from darkroom.storage import Storage
from darkroom.thresholds import BalancedAccuracyAim, find_threshold
from training.comparing.curves import pr_figure, reliability_figure, roc_figure
from training.comparing.plots import confusion_figure
from training.config import TrainingConfig
from training.data import Examples, read_examples, read_split
from training.kinds import Fitted
from training.reference import val_reference
from training.shifts import rounds_of, shifted

THREADS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A package on the lake, and what it does on val."""

    path: str
    package_id: str
    info: PackageInfo
    val: Mapping[str, Any]  # darkroom.metrics.score
    truth: np.ndarray
    probabilities: np.ndarray
    state: str | None = None  # where the lake keeps what a later training goes on from

    def metrics(self, prefix: str) -> dict[str, float]:
        """Those of val under flat names, and what was chosen on it."""
        chosen = {"temperature": self.info.temperature}
        if self.info.threshold is not None:
            chosen["threshold"] = self.info.threshold
        return flat_metrics(self.val, prefix) | chosen

    def figures(self, part: str) -> dict[str, bytes]:
        """PNG plots by file name."""
        return figures_of(part, self.info, self.val, self.truth, self.probabilities)


@dataclass(frozen=True)
class Assembled:
    """A model as its package has it, which is not written yet: what is chosen on val is chosen, and measured."""

    info: PackageInfo
    model: Model
    val: Examples
    probabilities: np.ndarray  # float32[N, classes], of val


def build_package(lake: Storage, task: Mapping[str, Any], config: TrainingConfig, fitted: Fitted) -> Built:
    """Chooses temperature and threshold on val, measures, and writes the package with what drift is measured from."""
    split = read_split(lake, task["dataset"], task["split_id"])
    made = assemble(lake, task, config, fitted, split)
    reference = val_reference(lake, made.model, made.info, split, made.val, made.probabilities)
    path, package_id = write_package(lake, task["model"], made.info, fitted.graph, reference, fitted.features)
    state = None
    if fitted.state is not None:
        state = learner_state(path)
        lake.create(state, fitted.state)  # False: equal packages have equal states
    return Built(path, package_id, made.info, made.info.metrics, made.val.truth, made.probabilities, state)


def assemble(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, fitted: Fitted, split: pa.Table
) -> Assembled:
    """Chooses on the val of a split, or of a fold, and measures there; nothing is written."""
    val = read_examples(lake, task["dataset"], split, "val", config.transform)
    classes = val.classes
    positive = None
    if len(classes) == 2:
        positive = config.positive_class or classes[-1]
    info = PackageInfo(
        classes=classes,
        positive_class=positive,
        threshold=None if positive is None else 0.5,
        transform=config.transform.model_dump(mode="json"),
        transform_hash=config.transform.hash,
        dataset=task["dataset"],
        dataset_version=task["version"],
        split_id=task["split_id"],
        config=config.name,
        config_digest=config.digest,
        code_digest=code_digest(),
        seed=task["seed"],
        input_shape=config.transform.shape,
        features=None if config.feature_set is None else config.feature_set.model_dump(mode="json"),
        features_hash=None if config.feature_set is None else config.feature_set.hash,
        pyfunc=fitted.pyfunc,
    )
    model = load_package(lake, pack(info, fitted.graph, features=fitted.features), threads=THREADS)
    raw = model.predict(val.pixels)
    seen, looks = raw, 1
    if config.choose_on == "val_and_shifts":
        # Images as they are count as much as all that other machines might have delivered.
        rounds = rounds_of(len(val))
        seen = np.concatenate([raw] * rounds + [model.predict(shifted(val.pixels, start)) for start in range(rounds)])
        looks = 2 * rounds
    truth = np.tile(val.truth, looks)
    temperature = _temperature(config, truth, seen, list(val.group) * looks, looks)
    probabilities = calibrated(raw, temperature.value)
    notes = [f"Temperature {temperature.value:g}: {temperature.reason}."]
    threshold = None
    if positive is not None:
        # A recall is promised for val as it is.
        whole = isinstance(config.threshold, BalancedAccuracyAim)
        on = (truth, calibrated(seen, temperature.value)) if whole else (val.truth, probabilities)
        found = find_threshold(config.threshold, *on, classes, classes.index(positive), looks if whole else 1)
        threshold = found.value
        notes.append(f"Threshold {found.note}.")
        if not found.reached:
            log.warning("%s: the aim of the threshold is not reached on val. %s", config.name, notes[-1])
    if looks > 1:
        notes.append("Val stands there for its images as they are and under simulated shifts; for a recall, as is.")
    log.info("%s: %s", config.name, " ".join(notes))
    measured = score(val.truth, probabilities, classes, positive, threshold)
    labels = predict_labels(probabilities, None if positive is None else classes.index(positive), threshold)
    measured |= without_temperature(val.truth, probabilities, labels, temperature.value)
    chosen = {"temperature": temperature.value, "threshold": threshold, "metrics": measured, "notes": tuple(notes)}
    info = info.model_copy(update=chosen)
    packed = pack(info, fitted.graph, features=fitted.features)
    return Assembled(info, load_package(lake, packed, threads=THREADS), val, probabilities)


def _temperature(
    config: TrainingConfig, truth: np.ndarray, raw: np.ndarray, groups: Sequence[str], looks: int
) -> Temperature:
    if config.calibration == "none":
        return Temperature(1.0, None, None, "the config asks for none")
    return fit_temperature(truth, raw, groups, looks)


def figures_of(
    part: str, info: PackageInfo, metrics: Mapping[str, Any], truth: np.ndarray, probabilities: np.ndarray
) -> dict[str, bytes]:
    """Confusion matrix, ROC, precision-recall and reliability of one model on a part of a split: PNG by file name."""
    from darkroom.figures import png

    title = f"{info.config} on {part}, {len(truth):,} images"
    curves = {info.config: (truth, probabilities)}
    positive = None if info.positive_class is None else info.classes.index(info.positive_class)
    labels = predict_labels(probabilities, positive, info.threshold)
    score_of_label = probabilities[np.arange(len(labels)), labels]
    drawn = {
        "Confusion": confusion_figure(metrics["confusion"], info.classes),
        "ROC": roc_figure(curves, info.classes, info.positive_class),
        "Precision and recall": pr_figure(curves, info.classes, info.positive_class),
        "Reliability": reliability_figure(score_of_label, labels == truth),
    }
    names = ("confusion", "roc", "pr", "reliability")
    return {
        f"{name}_{part}.png": png(figure, title=f"{what}: {title}")
        for name, (what, figure) in zip(names, drawn.items(), strict=True)
    }
