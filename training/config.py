"""Training configs: what is trained, from what pixels, and how. One YAML file each in training/configs/.

A config names its kind of model. A kind is one module of training/kinds, found by its name, and brings the options
that only it has; what is here, every config has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.contract import stable_hash
from darkroom.errors import InvalidRequest
from darkroom.features import FeatureSet
from darkroom.thresholds import BalancedAccuracyAim, ThresholdAim
from darkroom.transform import ImageTransform

CONFIG_FOLDER = Path(__file__).parent / "configs"

PrimaryMetric = Literal["balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc"]


AROUND_A_FIT = ("evaluate", "folds", "where", "search")  # options that change no single fit
OF_THE_WHOLE = (*AROUND_A_FIT, "primary_metric", "calibration", "choose_on", "threshold")  # a part of a model has none


class Options(BaseModel):
    """A group of options: frozen, and an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Options):
    """Numbers from low to high; whole ones where the option is a whole number. ``log``: even over magnitudes."""

    low: int | float = Field(allow_inf_nan=False)
    high: int | float = Field(allow_inf_nan=False)
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; expected low below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; a range with log needs one above 0")
        return self


class Choices(Options):
    """One of these."""

    choices: tuple[Any, ...] = Field(min_length=2)


class SearchOptions(Options):
    """Trials of a config with other options; the one that is best on val is fitted, measured and packaged."""

    space: dict[str, Range | Choices] = Field(min_length=1, description="Options by their dotted names.")
    trials: int = Field(default=20, ge=1, le=1000, description="The first is the config as it stands.")
    seconds: float | None = Field(
        default=None, gt=0, description="No trial begins after so many seconds of fitting, of all trials together."
    )
    parallel: int = Field(default=1, ge=1, le=64, description="Trials that are chosen, and in Spark fitted, together.")


class TrainingConfig(Options):
    """What every kind's config has. A kind derives its ``Config`` from this and names itself in ``kind``."""

    GIVES_GRAPH: ClassVar[bool] = True  # False: what is fitted answers otherwise, and cannot be joined to others

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="The file's name without .yaml.")
    kind: str = Field(description="The module of training/kinds that trains it.")
    description: str = Field(default="", description="One line for people.")
    transform: ImageTransform = Field(
        default_factory=lambda: ImageTransform.model_validate({}), description="Bytes to pixels: size and colour."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of weights and shuffling.")
    positive_class: str | None = Field(default=None, description="Of two classes. Default: the last in sorted order.")
    primary_metric: PrimaryMetric = Field(default="balanced_accuracy", description="Chooses among configs, on val.")
    calibration: Literal["temperature", "none"] = Field(
        default="temperature", description="Whether val may make the probabilities more or less sure."
    )
    choose_on: Literal["val_and_shifts", "val"] = Field(
        default="val_and_shifts",
        description="What temperature and balanced threshold are chosen on. training/shifts.py.",
    )
    threshold: ThresholdAim = Field(
        default=BalancedAccuracyAim(), description="What the threshold of two classes is chosen for, on val."
    )
    evaluate: Literal["holdout", "kfold"] = Field(
        default="holdout", description="kfold: folds over all images say beside the test part how good the config is."
    )
    folds: int = Field(default=5, ge=2, le=20, description="How many, where evaluate is kfold.")
    where: Literal["local", "spark"] = Field(
        default="local", description="spark: each fit is a task of Spark, folds and trials side by side."
    )
    search: SearchOptions | None = Field(default=None, description="Tries other options first. docs/experiments.md.")

    @property
    def feature_set(self) -> FeatureSet | None:
        """What is computed from the pixels before training; None where a kind trains on pixels."""
        return None

    @property
    def input_hash(self) -> str:
        """Of all that decides what training sees of an image: the transform, and the features where there are some."""
        found = self.feature_set
        return self.transform.hash if found is None else stable_hash([self.transform.hash, found.hash])

    @property
    def digest(self) -> str:
        """16 hex digits over every option."""
        return stable_hash(self.model_dump(mode="json"))

    def for_the_whole(self) -> list[str]:
        """Options that differ from their defaults and say nothing about a part of another config's model."""
        return [name for name in OF_THE_WHOLE if getattr(self, name) != type(self).model_fields[name].default]

    def as_part(self) -> Self:
        """The config without them."""
        return self._with_defaults(OF_THE_WHOLE)

    def once(self) -> Self:
        """The config of a single fit: without what says how often, and where, it is fitted."""
        return self._with_defaults(AROUND_A_FIT)

    def _with_defaults(self, names: Sequence[str]) -> Self:
        return self.model_copy(update={name: type(self).model_fields[name].default for name in names})


def known_configs(folder: Path | None = None) -> list[str]:
    """Names of the configs that can be loaded, sorted."""
    return sorted(path.stem for path in (folder or CONFIG_FOLDER).glob("*.yaml"))


def load_config(name: str, folder: Path | None = None) -> TrainingConfig:
    """The config of that name. Raises InvalidRequest for an unknown one, and for a file that is not valid."""
    return parse_config(content_of(name, folder), name)


def content_of(name: str, folder: Path | None = None) -> dict[str, Any]:
    """What the file of that name says, not checked yet, with its name. Raises InvalidRequest where there is none."""
    known = known_configs(folder)
    if name not in known:
        raise InvalidRequest(f"There is no training config {name!r}. Expected one of: {', '.join(known) or 'none'}.")
    path = (folder or CONFIG_FOLDER) / f"{name}.yaml"
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The training config {path.name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InvalidRequest(f"The training config {path.name} holds a {type(content).__name__}. Expected a mapping.")
    return {"name": name, **content}


def parse_config(content: dict[str, Any], name: str | None = None) -> TrainingConfig:
    """A config from plain values, as its kind reads them. Raises InvalidRequest that names every wrong field."""
    from training.kinds import kind_of

    told = name or content.get("name")
    kind = kind_of(content.get("kind"), f"The training config {told!r}")
    try:
        config = kind.Config.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise InvalidRequest(f"The training config {told!r} is not valid. {faults}.") from error
    if name is not None and config.name != name:
        raise InvalidRequest(f"The training config {name}.yaml calls itself {config.name!r}. Expected {name!r}.")
    if config.search is not None:
        from training.experiments.space import check_space

        check_space(config)
    return config


def wanted_features(configs: Sequence[TrainingConfig]) -> list[dict[str, Any]]:
    """The features that configs are trained on, with the transform whose pixels they are made of; each pair once."""
    wanted = {
        config.input_hash: {
            "transform": config.transform.model_dump(mode="json"),
            "features": config.feature_set.model_dump(mode="json"),
        }
        for config in configs
        if config.feature_set is not None
    }
    return list(wanted.values())
