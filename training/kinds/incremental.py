"""An incremental learner on features, which goes on from where an earlier training ended.

Every training keeps its state on the lake, under the name of the model package. A config that names one in ``resume``
shows the learner only the images that it has not seen, once each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Literal, Self

import numpy as np
import pyarrow.compute as pc
from pydantic import Field, model_validator

from darkroom.contract import TRAIN
from darkroom.errors import InvalidRequest
from darkroom.features import FittedFeatures
from darkroom.features.packed import pack_features, unpack_features
from training.classical.heads import HeadConfig
from training.classical.incremental_state import State, pack_state, partial_fit, start, state_graph, unpack_state
from training.classical.trials import Trial, Tried, best_on_val
from training.kinds import Fitted, Job

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"


class Config(HeadConfig):
    """Options of scikit-learn's SGDClassifier, and what to go on from."""

    KEEPS_STATE = True
    kind: Literal["incremental"] = "incremental"
    penalty: float = Field(default=1e-4, gt=0, le=1, description="Of large weights: alpha.")
    resume: str = Field(
        default="", max_length=500, description="Lake path of the state of an earlier training. Empty: begin anew."
    )

    @model_validator(mode="after")
    def _folds_are_unseen(self) -> Self:
        if self.resume and self.evaluate == "kfold":
            raise ValueError(
                "evaluate: kfold with resume would test on images that the state was trained on; take one of them out"
            )
        return self


def fit(job: Job) -> Fitted:
    """Shows the learner each train image that it has not seen, in the order of content_id.

    Raises InvalidRequest where the state is not there, is of another transform, classes, features or options, or has
    seen images that this split measures by.
    """
    features, state, seen = _begin(job)
    _check_unseen(job, seen)
    train, val = job.features("train", features), job.features("val", features)
    marks = _marks(train.content_ids)
    new = np.flatnonzero(~np.isin(marks, seen))
    log.info(
        "%s: %s images seen before; %s of %s in train are new",
        *(job.config.name, f"{len(seen):,}", f"{len(new):,}", f"{len(marks):,}"),
    )
    learned = partial_fit(state, train.values[new], train.truth[new], train.weight[new])

    def only(trial: Trial) -> Tried:
        return Tried(learned, state_graph(learned), {"images_seen": int(learned.count)})

    fitted = best_on_val(job, val.values, val.truth, [{}], only)
    transform = job.config.transform.model_dump(mode="json")
    kept = pack_state(learned, pack_features(features), np.union1d(seen, marks), transform)
    return Fitted(fitted.graph, fitted.facts, fitted.history, features, state=kept)


def _marks(content_ids: Iterable[str]) -> np.ndarray:
    return np.array([int(content_id[:16], 16) for content_id in content_ids], np.uint64)


def _check_unseen(job: Job, seen: np.ndarray) -> None:
    held_out = job.split.filter(pc.not_equal(job.split["split"], TRAIN))["content_id"].to_pylist()
    if known := int(np.isin(_marks(held_out), seen).sum()):
        raise InvalidRequest(
            f"The state {job.config.resume} was trained on {known:,} of the {len(held_out):,} images in val and test "
            "of this split: what is measured on them would flatter. Expected none. Resume it on a split whose train "
            "part has them, or begin anew, with an empty resume."
        )


def _begin(job: Job) -> tuple[FittedFeatures, State, np.ndarray]:
    """The features, the state and the marks of the images that it has seen: new ones, or those of ``resume``."""
    config: Config = job.config
    if not config.resume:
        features = job.fitted_features
        return features, start(job.classes, features.length, config.penalty), np.empty(0, np.uint64)
    try:
        data = job.lake.read(config.resume)
    except FileNotFoundError:
        raise InvalidRequest(
            f"The training config {config.name} resumes {config.resume}, which is not on {job.lake.root}. Expected the "
            "path that an earlier training returned as its state."
        ) from None
    state, packed, seen, transform = unpack_state(data)
    features = unpack_features(packed)
    found = (transform, tuple(state.classes.tolist()), features.features, float(state.penalty))
    wanted = (config.transform.model_dump(mode="json"), job.classes, config.features, config.penalty)
    for name, one, other in zip(("transform", "classes", "features", "penalty"), found, wanted, strict=True):
        if one != other:
            raise InvalidRequest(
                f"The state {config.resume} has other {name} than {config.name}: {one} instead of {other}. Expected "
                "the same. Begin anew, with an empty resume."
            )
    return features, state, seen
