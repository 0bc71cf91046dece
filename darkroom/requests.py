"""What people ask for: the fields of each DAG's form, checked as a whole before any work starts.

One flat model a DAG. Its field titles, descriptions, defaults and limits are what the Airflow form shows
(``plugins/darkroom_airflow/forms.py``), so that a field is described once.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from darkroom.contract import checked_name
from darkroom.errors import DarkroomError, InvalidRequest

RequestType = TypeVar("RequestType", bound=BaseModel)


class PrepareRequest(BaseModel):
    """The form of prepare_dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "phantom",
        title="Dataset",
        description="Name of the dataset in the lake: lower-case letters, digits, '-' and '_'.",
        max_length=63,
    )
    source: Literal["phantom", "folder", "archive"] = Field(
        "phantom",
        title="Source",
        description="phantom: synthetic radiographs. folder: images on a disk or object store. archive: a zip or tar.",
    )
    location: str = Field(
        "",
        title="Location",
        description="Folder path or s3:// address for a folder; path, file:// or http(s) URL for an archive.",
    )
    sha256: str = Field("", title="SHA-256", description="Expected checksum of the archive, 64 hex digits. Optional.")
    images: int = Field(
        1200, ge=20, le=1_000_000, title="Phantom images", description="How many phantoms to draw. Only for phantom."
    )
    labels: str = Field(
        "",
        title="Label map",
        description='Optional. JSON such as {"cat_1": "cat"}, or a regular expression; its first group is the class.',
    )
    groups: str = Field(
        "",
        title="Groups",
        description="Optional. chest-xray, or a regular expression on the file name that finds the patient.",
    )
    train: float = Field(0.7, gt=0, lt=1, title="Share for training", description="Between 0 and 1.")
    val: float = Field(0.15, gt=0, lt=1, title="Share for validation", description="Between 0 and 1.")
    test: float = Field(0.15, gt=0, lt=1, title="Share for testing", description="The three shares add up to 1.")
    keep_given_test: bool = Field(
        False,
        title="Keep the given test split",
        description="Images that came as a test split stay in it; what leaks into it leaves training.",
    )
    rebalance: Literal["none", "class_weights", "oversample", "undersample"] = Field(
        "class_weights",
        title="Rebalance training",
        description="How classes of unequal size are evened out. Touches the training split only.",
    )
    configs: list[str] = Field(
        ["small_cnn", "logistic_regression"],
        min_length=1,
        title="Training configs",
        description="Names of files in training/configs: what is trained on this dataset.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Decides the phantoms and the split.")

    @field_validator("dataset")
    @classmethod
    def _dataset(cls, value: str) -> str:
        return _named(value)

    @field_validator("groups")
    @classmethod
    def _groups(cls, value: str) -> str:
        if value and value != "chest-xray":
            _compiled(value)
        return value

    @model_validator(mode="after")
    def _together(self) -> PrepareRequest:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"the shares for training, validation and testing add up to {total:g}; make them add up to 1"
            )
        if self.source != "phantom" and not self.location:
            raise ValueError(f"the source {self.source!r} needs a location; none was given")
        if self.source == "phantom" and self.location:
            raise ValueError("the source 'phantom' takes no location; clear it or choose folder or archive")
        if self.sha256 and (self.source != "archive" or not re.fullmatch("[0-9a-fA-F]{64}", self.sha256)):
            raise ValueError("a SHA-256 is 64 hex digits and goes with an archive; correct or clear it")
        self.layout()
        return self

    def source_config(self) -> dict[str, Any]:
        """What darkroom.sources.parse_source takes."""
        if self.source == "phantom":
            return {"type": "phantom", "images": self.images, "seed": self.seed}
        if self.source == "folder":
            return {"type": "folder", "uri": self.location}
        return {"type": "archive", "url": self.location, "sha256": self.sha256 or None}

    def layout(self) -> dict[str, Any]:
        """How paths become classes and groups: the fields of darkroom.sources.layout.LayoutOptions."""
        from darkroom.sources.layout import LayoutOptions

        labels: Any = self.labels or None
        if self.labels.lstrip().startswith("{"):
            labels = _json_map(self.labels)
        groups = self.groups or ("chest-xray" if self.source == "phantom" else None)
        return LayoutOptions.model_validate({"labels": labels, "groups": groups}).model_dump()

    def split_options(self) -> dict[str, Any]:
        """What darkroom.splitting.SplitOptions takes."""
        return {
            "proportions": {"train": self.train, "val": self.val, "test": self.test},
            "keep_given_test": self.keep_given_test,
            "rebalance": self.rebalance,
            "seed": self.seed,
        }


class TrainRequest(BaseModel):
    """The form of train_model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(
        "", title="Dataset", description="Empty: the one whose event started this run, or the setting."
    )
    split_id: str = Field("", title="Split", description="A split_id. Empty: the dataset's newest split.")
    configs: list[str] = Field(
        [],
        title="Training configs",
        description="Names of files in training/configs. Empty: those of the event, or all.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Decides initial weights and shuffling.")

    @field_validator("dataset")
    @classmethod
    def _dataset(cls, value: str) -> str:
        return _named(value) if value else value


class BatchRequest(BaseModel):
    """The form of batch_inference. The date is the run's partition key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feeds: list[str] = Field([], title="Feeds", description="Names of folders below inbox/. Empty: all of them.")

    @field_validator("feeds")
    @classmethod
    def _feeds(cls, value: list[str]) -> list[str]:
        return [_named(name) for name in value]


def parse_request(kind: type[RequestType], fields: dict[str, Any]) -> RequestType:
    """The checked request; every fault of it in one InvalidRequest."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"]) or "the form"
            received = f" (received {fault['input']!r})" if fault["loc"] else ""
            faults.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}{received}")
        raise InvalidRequest(
            "The request cannot be used. " + "; ".join(faults) + ". Correct it and trigger again."
        ) from None


def checked_partition_date(key: str | None) -> str:
    """The date of a partitioned run, YYYY-MM-DD. Raises InvalidRequest without a usable one."""
    if not key:
        raise InvalidRequest(
            "This run has no partition key. batch_inference classifies one date: trigger it with a partition key such "
            "as 2026-01-31, or run a backfill of that date."
        )
    try:
        parsed = date.fromisoformat(key)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != key:
        raise InvalidRequest(f"The partition key {key!r} is not a date. Expected YYYY-MM-DD, for example 2026-01-31.")
    return key


def _named(value: str) -> str:
    try:
        return checked_name(value)
    except DarkroomError as error:
        raise ValueError(error.message) from None


def _compiled(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


def _json_map(text: str) -> dict[str, str]:
    import json

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the label map is not JSON: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError('a label map is a JSON object from class name to class name, such as {"cat_1": "cat"}')
    return value
