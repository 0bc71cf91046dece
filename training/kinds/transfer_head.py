"""The features of a pre-trained backbone, and a classical head on them: nothing of the network is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from darkroom.errors import InvalidRequest
from darkroom.features import FittedFeatures
from training.classical.heads import HeadConfig
from training.classical.vectors import Vectors, weights_of
from training.config import TrainingConfig, parse_config
from training.kinds import Fitted, Job, kind_of
from training.networks.backbone_weights import BackboneConfig, loaded
from training.networks.weights import NONE

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"
_BATCH = 64


class Config(BackboneConfig):
    """A backbone with its weights, and the options of a head."""

    kind: Literal["transfer_head"] = "transfer_head"
    head: dict[str, Any] = Field(
        default={"kind": "svm"}, description="kind, which learns from features in Python, and its own options."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.weights == NONE:
            raise ValueError("a head on features that nobody trained learns nothing. Expected weights")
        try:
            self.head_config()
        except InvalidRequest as error:
            raise ValueError(f"head: {error.message}") from error
        return self

    def head_config(self) -> TrainingConfig:
        """The head's own config. Raises InvalidRequest for one that is no head on features, or is not valid."""
        shared = {"name": self.name, "transform": self.transform.model_dump(mode="json"), "seed": self.seed}
        found = parse_config({**shared, **self.head})
        if not isinstance(found, HeadConfig) or kind_of(found.kind).RUNS_IN != "python":
            raise InvalidRequest(f"The kind {found.kind} is no head that learns from features in Python, as svm is.")
        if found.KEEPS_STATE:
            raise InvalidRequest(f"The kind {found.kind} keeps features in its state. Expected another head, as svm.")
        if ignored := found.for_the_whole():
            raise InvalidRequest(f"A head has {', '.join(ignored)}. Expected them beside `head`.")
        if "features" in self.head:
            raise InvalidRequest("The features of the head are the backbone's. Leave `features` out.")
        return found


@dataclass(frozen=True)
class _HeadJob(Job):
    """What a head is fitted to: vectors that are there already."""

    parts: Mapping[str, Vectors] | None = None

    def features(self, part: str, fitted: FittedFeatures | None = None) -> Vectors:
        return (self.parts or {})[part]

    @property
    def fitted_features(self) -> Any:  # type: ignore[override]  # the graph makes them itself
        return None


def fit(job: Job) -> Fitted:
    """Computes the features of train and val once, fits the head to them, and joins both to one graph."""
    from training.classical.composed import composed
    from training.networks.keras_engine import to_onnx

    started = time.monotonic()
    config: Config = job.config
    network = embedding_network(job)
    log.info("The features of %s are computed, and a head %s is fitted to them.", config.backbone, config.head["kind"])
    parts = {part: _vectors(job, network, part) for part in ("train", "val")}
    own = {name: getattr(job, name) for name in ("lake", "dataset", "split", "seed", "on_step", "team")}
    head_config = config.head_config()
    head = kind_of(head_config.kind).fit(_HeadJob(**own, config=head_config, parts=parts))
    facts = {**head.facts, "fit_seconds": time.monotonic() - started}
    return replace(head, graph=composed(to_onnx(network), head.graph), facts=facts, features=None, state=None)


def embedding_network(job: Job) -> Any:
    """A keras.Model: uint8[N, H, W, C] -> the backbone's pooled features float32[N, D]."""
    import keras
    from keras import layers

    from training.networks.layers import pixels_input

    inputs = pixels_input(job.config.transform.shape)
    maps = loaded(job.lake, job.config, inputs).output
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="embedding")(maps))


def _vectors(job: Job, network: Any, part: str) -> Vectors:
    examples = job.examples(part)
    starts = range(0, len(examples), _BATCH)
    values = np.concatenate([network.predict_on_batch(examples.pixels[k : k + _BATCH]) for k in starts])
    weight = weights_of(examples)
    kept = np.flatnonzero(weight > 0)
    names = ([column[row] for row in kept] for column in (examples.content_ids, examples.group))
    ids, groups = names
    return Vectors(ids, values[kept].astype(np.float32), examples.truth[kept], weight[kept], groups, examples.classes)
