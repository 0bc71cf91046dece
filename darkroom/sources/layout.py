"""What a path says about an image: its class, the split it was given, and the group (patient) it belongs to. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from darkroom.contract import TEST, TRAIN, VAL
from darkroom.errors import InvalidRequest

Described = tuple[str | None, str | None, str | None]

# Patterns for `groups` that can be asked for by name.
GROUP_PRESETS: Mapping[str, str] = {
    "chest-xray": r"^(person[0-9]+_(?:bacteria|virus)|(?:NORMAL2-)?IM-[0-9]+)(?![0-9])",
}

_SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
_LONGEST_PATTERN = 500  # characters of a pattern
_LONGEST_NAME = 255  # characters of a name that a pattern sees: bounds the time of an unlucky pattern


class LayoutOptions(BaseModel):
    """How paths become classes and groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, str] | str | None = Field(
        None,
        description="A map from directory name to class, or a regular expression whose first group is the class. "
        "Directories that it does not name keep their own name.",
    )
    groups: str | None = Field(
        None,
        description="chest-xray, or a regular expression searched in the file name; its first group (or all that it "
        "matched) names what belongs together.",
    )

    @field_validator("labels")
    @classmethod
    def _usable_labels(cls, value: dict[str, str] | str | None) -> dict[str, str] | str | None:
        if isinstance(value, str) and _pattern(value).groups < 1:
            raise ValueError(f"the pattern {value!r} has no group; put the part that is the class in ( )")
        if isinstance(value, dict) and (not value or not all(k and v for k, v in value.items())):
            raise ValueError("a label map needs at least one entry, and no empty names; correct it or leave it out")
        return value

    @field_validator("groups")
    @classmethod
    def _usable_groups(cls, value: str | None) -> str | None:
        if value is not None and value not in GROUP_PRESETS:
            _pattern(value)
        return value


def parse_layout(value: Any) -> LayoutOptions:
    """The options that a dict describes. Raises InvalidRequest with a sentence for each wrong field."""
    try:
        return LayoutOptions.model_validate(value)
    except ValidationError as error:
        sentences = []
        for problem in error.errors():
            field = ".".join(str(part) for part in problem["loc"]) or "layout"
            reason = str(problem["msg"]).removeprefix("Value error, ")
            sentences.append(f"The layout option {field!r} cannot be used: {reason}.")
        raise InvalidRequest(" ".join(sentences)) from error


def describe(path: str, options: LayoutOptions, *, top: Sequence[str] = ()) -> Described:
    """(class, given split, group) of one file; None where the path says nothing.

    ``top`` are the leading directories that all files share and that hold the split directories: no class.
    """
    *folders, name = path.split("/")
    folders = folders[len(top) :] if tuple(folders[: len(top)]) == tuple(top) else folders
    splits = [_SPLIT_NAMES[folder.lower()] for folder in folders if folder.lower() in _SPLIT_NAMES]
    classes = [folder for folder in folders if folder.lower() not in _SPLIT_NAMES]
    label = _mapped(classes[-1], options)[0] if classes else None
    return label, splits[0] if splits else None, _group(name, options)


def describe_all(paths: Iterable[str], options: LayoutOptions) -> list[Described]:
    """``describe`` for a whole dataset, in the order of ``paths``.

    Raises InvalidRequest where ``options.labels`` fits none of the class directories.
    """
    paths = list(paths)
    top = common_top(paths)
    if options.labels is not None:
        plain = options.model_copy(update={"labels": None, "groups": None})
        seen = sorted({label for label, _, _ in (describe(p, plain, top=top) for p in paths) if label is not None})
        if not any(_mapped(label, options)[1] for label in seen):
            shown = ", ".join(repr(label) for label in seen[:20]) or "none"
            more = f" and {len(seen) - 20:,} more" if len(seen) > 20 else ""
            raise InvalidRequest(
                f"The label map {_shown(options.labels)} fits none of the classes. The classes seen: {shown}{more}. "
                "Correct the map, or leave it out."
            )
    return [describe(path, options, top=top) for path in paths]


def common_top(paths: Sequence[str]) -> tuple[str, ...]:
    """The leading directories common to all files, where they hold split directories; otherwise none."""
    shared: Sequence[str] | None = None
    for path in paths:
        folders = path.split("/")[:-1]
        shared = folders if shared is None else shared[: _alike(shared, folders)]
        if not shared:
            return ()
    for depth in range(len(shared or ()) + 1):
        prefix = (shared or ())[:depth]
        below = {path.split("/")[depth].lower() for path in paths if path.count("/") > depth}
        if below & _SPLIT_NAMES.keys():
            return tuple(prefix)
    return ()


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many leading elements are equal."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _mapped(label: str, options: LayoutOptions) -> tuple[str, bool]:
    """The class of a directory, and whether ``options.labels`` named it."""
    if isinstance(options.labels, dict):
        return options.labels.get(label, label), label in options.labels
    if options.labels is None:
        return label, False
    found = _pattern(options.labels).search(label[:_LONGEST_NAME])
    return (found.group(1), True) if found and found.group(1) else (label, False)


def _group(name: str, options: LayoutOptions) -> str | None:
    if options.groups is None:
        return None
    found = _pattern(GROUP_PRESETS.get(options.groups, options.groups)).search(name[:_LONGEST_NAME])
    if found is None:
        return None
    return (found.group(1) if found.re.groups else found.group(0)) or None


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern of {len(text):,} characters is too long; use at most {_LONGEST_PATTERN}")
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a regular expression ({error}); correct it") from error


def _shown(labels: Any) -> str:
    text = repr(labels)
    return text if len(text) <= 200 else text[:200] + "..."
