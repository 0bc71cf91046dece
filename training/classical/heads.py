"""What the heads of scikit-learn share: features in, a grid that val chooses from, an ONNX graph out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from darkroom.errors import DataError
from darkroom.features import FeatureSet
from training.classical.trials import Trial, Tried, best_on_val
from training.classical.vectors import Vectors
from training.config import TrainingConfig
from training.kinds import Fitted, Job

log = logging.getLogger(__name__)

Head = Callable[[Vectors, Vectors, Trial], Tried]
"""Fits one trial to (train, val); its graph takes float32[N, D]."""


class HeadConfig(TrainingConfig):
    """A head on features."""

    KEEPS_STATE: ClassVar[bool] = False  # True: a later training goes on from it, with the features of then

    features: FeatureSet = Field(
        default_factory=lambda: FeatureSet.model_validate(["hog"]),
        description="Computed from the pixels, side by side.",
    )

    @property
    def feature_set(self) -> FeatureSet:
        return self.features


def fit_head(job: Job, trials: Sequence[Trial], head: Head) -> Fitted:
    """Fits the head to the features of the job's train once a trial, and keeps what is best on its val."""
    train, val = job.features("train"), job.features("val")
    log.info(
        "%s: %s images in train, %s in val, %s values each",
        *(job.config.name, f"{len(train.truth):,}", f"{len(val.truth):,}", f"{train.values.shape[1]:,}"),
    )
    fitted = best_on_val(job, val.values, val.truth, trials, partial(head, train, val))
    return replace(fitted, features=job.fitted_features)


def sample(vectors: Vectors, most: int, seed: int) -> Vectors:
    """At most so many of the images, drawn by the seed, of each class its share; in the same order."""
    if len(vectors.truth) <= most:
        return vectors
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(vectors.truth))
    kept = np.sort(train_test_split(rows, train_size=most, stratify=vectors.truth, random_state=seed)[0])
    log.info("%s of %s images in train are drawn for this fit.", f"{most:,}", f"{len(rows):,}")
    picked = {name: getattr(vectors, name)[kept] for name in ("values", "truth", "weight")}
    ids, groups = ([names[row] for row in kept] for names in (vectors.content_ids, vectors.group))
    return replace(vectors, content_ids=ids, group=groups, **picked)


def margin_calibration(margins: np.ndarray, truth: np.ndarray, weight: np.ndarray, classes: int) -> Any:
    """A logistic regression from margins float[N, M] to the classes; for two, Platt scaling (Platt 1999).

    Raises DataError where a class has no image.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(truth)) < classes:
        raise DataError(
            f"The images that margins become probabilities by are of {len(np.unique(truth))} classes. Expected each of "
            f"{classes}. Give val images of every class, or train more images."
        )
    return LogisticRegression(max_iter=1000).fit(margins, truth, weight / weight.mean())


@dataclass(frozen=True)
class Scaling:
    """Subtracts ``mean`` and divides by ``scale``, float64[D] each; a value that never changes becomes zero."""

    mean: np.ndarray
    scale: np.ndarray

    @staticmethod
    def of(values: np.ndarray, weight: np.ndarray, wanted: bool = True) -> Scaling:
        """By the weighted mean and spread of float[N, D]; where it is not wanted, one that changes nothing."""
        if not wanted:
            return Scaling(np.zeros(values.shape[1]), np.ones(values.shape[1]))
        wide = values.astype(np.float64)
        mean = np.average(wide, axis=0, weights=weight)
        spread = np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=weight))
        constant = spread <= 1e-9 * np.maximum(np.abs(mean), 1e-9)  # what is left of rounding is no spread
        return Scaling(mean, np.where(constant, 1.0, spread))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """float64[N, D]."""
        return (values.astype(np.float64) - self.mean) / self.scale

    def unscaled(self, coefficients: np.ndarray, intercepts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights [classes, D] and [classes] that do to plain vectors what these do to scaled ones."""
        plain = coefficients / self.scale
        return plain, intercepts - plain @ self.mean
