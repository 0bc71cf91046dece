"""From a trained graph to a model package: threshold and metrics on val, all measured through the package itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.codedigest import code_digest
from darkroom.metrics import choose_threshold, flat_metrics, score
from darkroom.model import PackageInfo, load_package, pack, write_package
from darkroom.storage import Storage
from training.config import TrainingConfig
from training.data import read_examples, read_split
from training.kinds import Fitted
from training.plots import confusion_figure, roc_figure
from training.reference import val_reference

THREADS = 2


@dataclass(frozen=True)
class Built:
    """A package on the lake, and what it does on val."""

    path: str
    package_id: str
    info: PackageInfo
    val: Mapping[str, Any]  # darkroom.metrics.score
    truth: np.ndarray
    probabilities: np.ndarray

    def metrics(self, prefix: str) -> dict[str, float]:
        return flat_metrics(self.val, prefix)

    def figures(self, part: str) -> dict[str, bytes]:
        """PNG plots by file name."""
        return figures_of(part, self.info, self.val, self.truth, self.probabilities)


def build_package(lake: Storage, task: Mapping[str, Any], config: TrainingConfig, fitted: Fitted) -> Built:
    """Chooses the threshold on val, measures, and writes the package with what drift is measured from."""
    split = read_split(lake, task["dataset"], task["split_id"])
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
    )
    model = load_package(lake, pack(info, fitted.graph), threads=THREADS)
    probabilities = model.predict(val.pixels)
    threshold = None
    if positive is not None:
        column = classes.index(positive)
        threshold = choose_threshold(val.truth == column, probabilities[:, column])
    measured = score(val.truth, probabilities, classes, positive, threshold)
    info = info.model_copy(update={"threshold": threshold, "metrics": measured})
    reference = val_reference(lake, model, info, split, val, probabilities)
    path, package_id = write_package(lake, task["model"], info, fitted.graph, reference)
    return Built(path, package_id, info, measured, val.truth, probabilities)


def figures_of(
    part: str, info: PackageInfo, metrics: Mapping[str, Any], truth: np.ndarray, probabilities: np.ndarray
) -> dict[str, bytes]:
    """The confusion matrix and the ROC curves of one model on one part of a split, as PNG by file name."""
    from darkroom.figures import png

    title = f"{info.config} on {part}, {len(truth):,} images"
    curves = {info.config: (truth, probabilities)}
    return {
        f"confusion_{part}.png": png(confusion_figure(metrics["confusion"], info.classes), title=f"Confusion: {title}"),
        f"roc_{part}.png": png(roc_figure(curves, info.classes, info.positive_class), title=f"ROC: {title}"),
    }
