"""The space that a search goes through: which options of a config may change, and between what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import BaseModel

from darkroom.errors import InvalidRequest
from training.config import Choices, Range, TrainingConfig, parse_config

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def check_space(config: TrainingConfig) -> None:
    """Raises InvalidRequest unless every option is the kind's own and takes every end and choice of its range.

    What decides the features is no option of a search: they are computed before it.
    """
    assert config.search is not None
    workers = getattr(config, "workers", 1)  # an option of networks
    if workers > 1:
        raise InvalidRequest(
            f"The training config {config.name} asks for a search and for {workers} workers. "
            "Expected one of the two: trials run side by side. Take workers out."
        )
    own = sorted(set(type(config).model_fields) - set(TrainingConfig.model_fields) - {"workers"})
    for path, part in config.search.space.items():
        if path.split(".")[0] not in own:
            raise InvalidRequest(
                f"The search of the training config {config.name} names {path!r}. Expected an option that only its "
                f"kind has, or one below it: {', '.join(own)}."
            )
        if isinstance(part, Range):
            _check_whole(config, path, part)
        for value in part.choices if isinstance(part, Choices) else (part.low, part.high):
            if with_options(config, {path: value}).input_hash != config.input_hash:
                raise InvalidRequest(
                    f"The search of the training config {config.name} changes {path!r}, and with it the features, "
                    "which are computed before any training. Expected options of what learns from them. Write a config "
                    "for each list of features; a training compares them."
                )


def with_options(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """The config with other values of some options, without its search. Raises InvalidRequest where one is wrong."""
    content = config.model_dump(mode="json") | {"search": None}
    for path, value in values.items():
        place: Any = content
        *rest, last = path.split(".")
        for name in rest:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise InvalidRequest(
                f"The search of the training config {config.name} names {path!r}, which is no option of it. Expected "
                "dotted names as its YAML has them."
            )
        place[last] = value
    return parse_config(content)


def value_of(config: TrainingConfig, path: str) -> Any:
    """The option of that dotted name, as plain data."""
    value: Any = config.model_dump(mode="json")
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def distributions(config: TrainingConfig) -> dict[str, BaseDistribution]:
    """Optuna's distributions. A choice is known to it by its place, since it takes no lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert config.search is not None
    found: dict[str, BaseDistribution] = {}
    for path, part in config.search.space.items():
        if isinstance(part, Choices):
            found[path] = CategoricalDistribution(range(len(part.choices)))
        elif _whole(config, path):
            found[path] = IntDistribution(int(part.low), int(part.high), log=part.log)
        else:
            found[path] = FloatDistribution(float(part.low), float(part.high), log=part.log)
    return found


def to_optuna(config: TrainingConfig, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Values as Optuna knows them; None where one lies outside the space."""
    assert config.search is not None
    found: dict[str, Any] = {}
    for path, part in config.search.space.items():
        value = values[path]
        if isinstance(part, Choices):
            choices: Sequence[Any] = [_plain(choice) for choice in part.choices]
            if _plain(value) not in choices:
                return None
            found[path] = choices.index(_plain(value))
        else:
            if not isinstance(value, int | float) or not part.low <= value <= part.high:
                return None
            found[path] = value
    return found


def from_optuna(config: TrainingConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of ``to_optuna``."""
    assert config.search is not None
    parts = config.search.space
    return {
        path: _plain(part.choices[value]) if isinstance(part := parts[path], Choices) else value
        for path, value in values.items()
    }


def _whole(config: TrainingConfig, path: str) -> bool:
    """Whether the option is declared as a whole number, set or not."""
    declared: Any = type(config)
    for name in path.split("."):
        groups = [one for one in _alternatives(declared) if isinstance(one, type) and issubclass(one, BaseModel)]
        field = next((group.model_fields[name] for group in groups if name in group.model_fields), None)
        if field is None:
            return False  # with_options says that there is none
        declared = field.annotation
    return _alternatives(declared) - {NoneType} == {int}


def _alternatives(declared: Any) -> set[Any]:
    return set(get_args(declared)) if get_origin(declared) in (Union, UnionType) else {declared}


def _check_whole(config: TrainingConfig, path: str, part: Range) -> None:
    if (part.low % 1 or part.high % 1) and _whole(config, path):
        raise InvalidRequest(
            f"The search of the training config {config.name} gives {path!r} the range {part.low:g} to {part.high:g}. "
            "Expected whole numbers, as the option is one."
        )


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
