"""The weighted mean of several models that see the same pixels: networks and heads on features, as one graph.

Models of different nature err on different images, and their mean is rarely worse than the best of them; above all on
small sets, where val is too small to say which one that is (Dietterich 2000, doi 10.1007/3-540-45014-9_1). Weights are
those under which val is likeliest, drawn towards equal ones: a small val moves them little, a large one decides.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from darkroom.errors import InvalidRequest
from darkroom.features import FeatureSet
from training.classical.graphs import graph_probabilities
from training.config import TrainingConfig, content_of, parse_config
from training.data import equal_classes
from training.kinds import Fitted, Job, kind_of, later_epochs
from training.networks.blended import Part, blended

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"
PRIOR = 5.0  # images of val that each member is taken to have explained before any is looked at
ROUNDS = 500
_SHARED = ("name", "transform", "seed", "positive_class")


class Config(TrainingConfig):
    """The members; the transform and the seed are those of the blend."""

    kind: Literal["blend"] = "blend"
    members: tuple[dict[str, Any], ...] = Field(
        min_length=2, max_length=8, description="Names of other configs, or kind and options; each once."
    )

    weights: Literal["val", "equal"] = Field(
        default="val", description="What each member counts: what val says, drawn towards equal; or all the same."
    )

    @field_validator("members", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """A name stands for the options of that config, so that the digest covers them."""
        if not isinstance(value, (list, tuple)):
            return value
        contents = [content_of(one) if isinstance(one, str) else one for one in value]
        for member, content in zip(value, contents, strict=True):  # before they are read: one may name this blend
            if isinstance(content, dict) and content.get("kind") == "blend":
                raise ValueError(f"the kind blend cannot be blended; name the members of {member!r} instead")
        return tuple(
            _options(parse_config(content, one)) if isinstance(one, str) else one
            for one, content in zip(value, contents, strict=True)
        )

    @field_validator("members")
    @classmethod
    def _complete(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        try:
            return tuple(_options(_member(one, {"name": "member"})) for one in value)
        except InvalidRequest as error:
            raise ValueError(error.message) from error

    def member_configs(self) -> list[TrainingConfig]:
        """The members' own configs."""
        shared = {name: getattr(self, name) for name in _SHARED if name != "transform"}
        return [_member(one, {**shared, "transform": self.transform.model_dump(mode="json")}) for one in self.members]

    @property
    def feature_set(self) -> FeatureSet | None:
        """The features of all members, each once."""
        found = [feature for one in self.member_configs() if one.feature_set for feature in one.feature_set.features]
        return FeatureSet.model_validate(list(dict.fromkeys(found))) if found else None


def _options(config: TrainingConfig) -> dict[str, Any]:
    return config.as_part().model_dump(mode="json", exclude={*_SHARED, "description"})


def _member(options: dict[str, Any], shared: dict[str, Any]) -> TrainingConfig:
    config = parse_config({**options, **shared})
    if not config.GIVES_GRAPH or kind_of(config.kind).RUNS_IN != "python":
        raise InvalidRequest(
            f"The kind {config.kind} cannot be blended. Expected one that is fitted in Python and gives a graph."
        )
    if getattr(config, "KEEPS_STATE", False):
        raise InvalidRequest(f"The kind {config.kind} keeps features in its state. Expected another member, as svm.")
    if ignored := config.for_the_whole():
        raise InvalidRequest(f"A member of a blend has {', '.join(ignored)}. Expected them in the blend's own options.")
    return config


def fit(job: Job) -> Fitted:
    """Fits every member on its own, and joins their graphs."""
    config: Config = job.config
    parts: list[Part] = []
    history: list[dict[str, float]] = []
    facts: dict[str, float] = {"fit_seconds": 0.0}
    whole = config.feature_set
    lengths = dict(zip(whole.features, job.fitted_features.lengths, strict=True)) if whole else {}
    for number, member in enumerate(config.member_configs(), 1):
        log.info("Member %d of %d: %s", number, len(config.members), member.kind)
        told = later_epochs(job.on_step, len(history))
        fitted = kind_of(member.kind).fit(replace(job, config=member).telling(told))
        history += fitted.history
        facts["fit_seconds"] += float(fitted.facts.get("fit_seconds", 0.0))
        facts |= {f"{member.kind}_{name}": value for name, value in fitted.facts.items() if name != "fit_seconds"}
        parts.append(Part(fitted.graph, _columns(member, lengths)))
    weights = np.full(len(parts), 1 / len(parts))
    if config.weights == "val":
        weights = _weights_on_val(job, parts)
    for member, weight in zip(config.member_configs(), weights, strict=True):
        log.info("%s counts %.2f", member.kind, weight)
    facts |= {f"weight_{number}": float(weight) for number, weight in enumerate(weights, 1)}
    graph = blended(parts, weights, config.transform.shape, sum(lengths.values()))
    return Fitted(graph, facts, history, job.fitted_features if whole else None)


def _columns(member: TrainingConfig, lengths: dict[Any, int]) -> list[tuple[int, int]] | None:
    """Where in the vector of all features the member's own are: (start, end) each; None where it takes pixels."""
    if member.feature_set is None:
        return None
    starts, start = {}, 0
    for feature, length in lengths.items():
        starts[feature] = (start, start + length)
        start += length
    return [starts[feature] for feature in member.feature_set.features]


def _weights_on_val(job: Job, parts: Sequence[Part]) -> np.ndarray:
    val = job.examples("val")
    vectors = np.empty((0, 0)) if job.config.feature_set is None else job.features("val").values
    chances = []
    for part in parts:
        inputs = val.pixels if part.columns is None else vectors[:, part.index]
        chances.append(graph_probabilities(part.graph, inputs)[np.arange(len(val)), val.truth])
    counts = equal_classes(val.truth, len(val.classes))
    return likeliest_weights(np.stack(chances, axis=1), counts / counts.mean())


def likeliest_weights(chances: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """float64[M], summing to one: how much of each member's answer the mean takes.

    ``chances`` float[N, M] are the members' probabilities of each image's true class, ``counts`` float[N] what each
    image counts. Expectation-maximisation of a mixture's proportions (Dempster et al. 1977) under a Dirichlet prior.
    """
    chances = np.maximum(chances.astype(np.float64), 1e-12)
    weights = np.full(chances.shape[1], 1 / chances.shape[1])
    for _ in range(ROUNDS):
        explained = chances * weights
        found = PRIOR + (counts[:, None] * explained / explained.sum(axis=1, keepdims=True)).sum(axis=0)
        weights = found / found.sum()
    return weights
