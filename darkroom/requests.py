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
    source: Literal["phantom", "folder", "archive", "kaggle"] = Field(
        "phantom",
        title="Source",
        description="phantom: synthetic radiographs. folder: images on a disk or object store. archive: a zip or tar. "
        "kaggle: a dataset of Kaggle.",
    )
    location: str = Field(
        "",
        title="Location",
        description="Folder path or s3:// address for a folder; path, file:// or http(s) URL for an archive; "
        "owner/dataset or owner/dataset/versions/3 for kaggle.",
    )
    in_place: bool = Field(
        False,
        title="Leave the files in place",
        description="Only for a folder: the lake keeps addresses and tags, no copies. The files must stay as they are.",
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
    train_count: int = Field(
        0, ge=0, title="Images for training", description="Only with a count for validation. 0: all the others."
    )
    val_count: int = Field(
        0, ge=0, title="Images for validation", description="Counts instead of shares. 0: the three shares decide."
    )
    test_count: int = Field(
        0, ge=0, title="Images for testing", description="Goes with a count for validation, unless a test is kept."
    )
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
    minimum_per_class: int = Field(
        3,
        ge=1,
        title="Least images of a class",
        description="What every split must hold of every class. With fewer, nothing is split.",
    )
    classes: list[str] = Field(
        [],
        title="Expected classes",
        description="The validation fails when the images have others. Empty: whatever the manifest finds.",
    )
    max_problem_share: float = Field(
        0.1, ge=0, le=1, title="Most files with a problem", description="Share of files that may not be usable images."
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

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: str) -> str:
        _layout(value, None)
        return value

    @field_validator("sha256")
    @classmethod
    def _sha256(cls, value: str) -> str:
        if value and not re.fullmatch("[0-9a-fA-F]{64}", value):
            raise ValueError("a SHA-256 is 64 hex digits; correct or clear it")
        return value

    @model_validator(mode="after")
    def _together(self) -> PrepareRequest:
        faults = []
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            faults.append(f"the shares for training, validation and testing add up to {total:g}; make them add up to 1")
        if self.source != "phantom" and not self.location:
            faults.append(f"the source {self.source!r} needs a location; none was given")
        if self.source == "phantom" and self.location:
            faults.append("the source 'phantom' takes no location; clear it or choose another source")
        if self.in_place and self.source != "folder":
            faults.append("only a folder's files can stay in place; clear in_place or choose folder")
        if self.sha256 and self.source != "archive":
            faults.append("a SHA-256 goes with an archive; clear it or choose archive")
        if not self.val_count and (self.train_count or self.test_count):
            faults.append("counts were given without one for validation; give val_count too, or clear them")
        if self.val_count and bool(self.test_count) == self.keep_given_test:
            faults.append("counts need either test_count or keep_given_test, not both and not neither")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def source_config(self) -> dict[str, Any]:
        """What darkroom.sources.parse_source takes."""
        if self.source == "phantom":
            return {"type": "phantom", "images": self.images, "seed": self.seed}
        if self.source == "folder":
            return {"type": "folder", "uri": self.location, "in_place": self.in_place}
        if self.source == "kaggle":
            return {"type": "kaggle", "handle": self.location}
        return {"type": "archive", "url": self.location, "sha256": self.sha256 or None}

    def layout(self) -> dict[str, Any]:
        """How paths become classes and groups: the fields of darkroom.sources.layout.LayoutOptions."""
        return _layout(self.labels, self.groups or ("chest-xray" if self.source == "phantom" else None))

    def split_options(self) -> dict[str, Any]:
        """What darkroom.splitting.SplitOptions takes."""
        measure: dict[str, Any] = {"proportions": {"train": self.train, "val": self.val, "test": self.test}}
        if self.val_count:
            counts = {"train": self.train_count or None, "val": self.val_count, "test": self.test_count or None}
            measure = {"counts": counts}
        return {
            **measure,
            "keep_given_test": self.keep_given_test,
            "rebalance": self.rebalance,
            "seed": self.seed,
            "minimum_per_class": self.minimum_per_class,
        }

    def validation_limits(self) -> dict[str, Any]:
        """What darkroom.expectations.ValidationLimits takes."""
        return {"labels": sorted(set(self.classes)) or None, "max_problem_share": self.max_problem_share}


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
        raise InvalidRequest(
            f"The request cannot be used. {told_faults(error, 'the form')}. Correct it and trigger again."
        ) from None


def checked_job(kind: type[RequestType], fields: dict[str, Any], job: str) -> RequestType:
    """What a job or a step is asked for, checked; every fault of it in one InvalidRequest that names the ``job``."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        expected = ", ".join(kind.model_fields)
        raise InvalidRequest(
            f"The {job} request cannot be used. {told_faults(error, 'the request')}. Expected {expected}."
        ) from None


def told_faults(error: ValidationError, whole: str) -> str:
    """Every fault on one line, each with its field and what was received; ``whole`` names faults of no one field."""
    faults = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"]) or whole
        received = f" (received {fault['input']!r})" if fault["loc"] and fault["type"] != "missing" else ""
        faults.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}{received}")
    return "; ".join(faults)


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


def _layout(labels: str, groups: str | None) -> dict[str, Any]:
    from darkroom.sources.layout import LayoutOptions

    mapped: Any = _json_map(labels) if labels.lstrip().startswith("{") else labels or None
    return LayoutOptions.model_validate({"labels": mapped, "groups": groups}).model_dump()


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
