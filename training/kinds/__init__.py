"""The kinds of models: one module each, which has what ``Kind`` says, and at least one YAML in training/configs.

Nothing else knows their names. A module is imported when a config names it, so it imports its framework in ``fit``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Literal, Protocol, cast

import pyarrow as pa

from darkroom.contract import TRAIN
from darkroom.errors import DataError, InvalidRequest
from darkroom.features import FittedFeatures, Raws, read_features
from darkroom.package import PyfuncSource
from darkroom.storage import Storage
from training.classical.vectors import Vectors, vectors_of
from training.config import TrainingConfig
from training.data import Examples, class_names, part_rows, read_examples
from training.networks.team import ALONE, Team

OnStep = Callable[[int, Mapping[str, float]], None]


def later_epochs(on_step: OnStep, epochs: int) -> OnStep:
    """The same for a fit that comes after that many steps of another."""
    return lambda step, values: on_step(epochs + step, values)


@dataclass(frozen=True)
class Job:
    """One fit: of what config, on which images, from which seed, and whom to tell of progress.

    ``split`` holds the rows of tables/<dataset>/splits; its parts train and val are what a fit may look at.
    ``on_step(step, metrics)`` is called with the metrics of each epoch, or of each of several fits, from 1.
    """

    lake: Storage
    dataset: str
    split: pa.Table
    config: Any  # the kind's own Config
    seed: int
    on_step: OnStep = lambda step, values: None
    team: Team = ALONE  # who trains the same network at the same time

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The split's classes, sorted."""
        return class_names(self.split)

    def telling(self, on_step: OnStep) -> Job:
        """The same job, which tells someone else of its progress."""
        return replace(self, on_step=on_step)

    def examples(self, part: str) -> Examples:
        """The images of train or val with their pixels, made by the config's transform."""
        return read_examples(self.lake, self.dataset, self.split, part, self.config.transform)

    @cached_property
    def fitted_features(self) -> FittedFeatures:
        """The config's features, fitted to the images of train."""
        fitted: FittedFeatures = self.config.feature_set.fit(self._raws(TRAIN), self.seed)
        return fitted

    def features(self, part: str, fitted: FittedFeatures | None = None) -> Vectors:
        """The images of train or val as vectors of the config's features; ``fitted``: to other images than train's."""
        return vectors_of(part_rows(self.split, part), self._raws(part), fitted or self.fitted_features)

    def _raws(self, part: str) -> list[Raws]:
        ids = part_rows(self.split, part).content_ids
        return read_features(self.lake, self.dataset, self.config.transform, self.config.feature_set, ids)


@dataclass(frozen=True)
class Fitted:
    """A fitted model and numbers about the fit.

    ``graph``: ONNX, uint8[N, H, W, C] in, or with ``features`` what those make of it, float32[N, D]; float32[N,
    classes] out. ``figures``: more files for the run's plots, by name. ``state``: what a later training goes on from.
    ``pyfunc``: where there is no graph, ``graph`` is the zipped folder of this model.
    """

    graph: bytes
    facts: Mapping[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    features: FittedFeatures | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)
    state: bytes | None = None
    pyfunc: PyfuncSource | None = None


class Kind(Protocol):
    """What a module of this package has.

    ``RUNS_IN``: whether ``fit`` runs in a plain Python task or in a Spark driver, which spark-submit starts.
    """

    RUNS_IN: Literal["python", "spark"]
    Config: type[TrainingConfig]

    def fit(self, job: Job) -> Fitted:
        """Fits to the job's train, chooses on its val; equal jobs give equal graphs on one machine."""


def known_kinds() -> list[str]:
    """The names of all kinds, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def kind_of(name: object, asker: str = "A training config") -> Kind:
    """The kind of that name. Raises InvalidRequest, which begins with ``asker``, for an unknown one."""
    known = known_kinds()
    if name not in known:
        raise InvalidRequest(f"{asker} is of the kind {name!r}. Expected as kind one of: {', '.join(known)}.")
    return cast(Kind, import_module(f"{__name__}.{name}"))


def fit(job: Job) -> Fitted:
    """What the job's kind fits. Raises DataError where the memory of this machine is not enough for it."""
    try:
        return kind_of(job.config.kind).fit(job)
    except Exception as error:
        # TensorFlow says the same with a class of its own, which is not imported here.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        height, width, channels = job.config.transform.shape
        raise DataError(
            f"The memory was not enough to train {job.config.name} on {job.split.num_rows:,} images of "
            f"{height}x{width}x{channels}: {next(iter(str(error).splitlines()), 'no detail')[:200]}. Expected it to "
            "fit. Give the config a smaller transform, batch_size or model, or train where there is more memory."
        ) from error
