"""The form of prepare_dataset."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from darkroom.requests import named


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
        return named(value)

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
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the label map is not JSON: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError('a label map is a JSON object from class name to class name, such as {"cat_1": "cat"}')
    return value
