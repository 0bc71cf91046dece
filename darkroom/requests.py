"""What people ask for: the fields of each DAG's form, checked as a whole before any work starts.

One flat model a DAG. Its field titles, descriptions, defaults and limits are what the Airflow form shows
(``plugins/darkroom_airflow/forms.py``), so that a field is described once.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from darkroom.contract import checked_name
from darkroom.errors import DarkroomError, InvalidRequest

RequestType = TypeVar("RequestType", bound=BaseModel)


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
        description="Names of files in training/configs. Empty: those of the event, else the setting "
        "DARKROOM_TRAIN_CONFIGS.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        title="Seed",
        description="Decides initial weights and shuffling. Empty: each config's own.",
    )
    with_leaks: bool = Field(
        False,
        title="With leaks, too",
        description="Trains each config once more on the split that the source gave, to show what its leaks do.",
    )
    asked_by: Literal["", "data", "drift"] = Field(
        "",
        title="Asked for by",
        description="Filled in by other DAGs: such trainings have a budget. Empty: you.",
    )

    @field_validator("dataset")
    @classmethod
    def _dataset(cls, value: str) -> str:
        return named(value) if value else value


class PromoteRequest(BaseModel):
    """The form of promote_champion; train_model fills it in."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    model: str = Field("", title="Model", description="The model whose challenger passed the gate.")
    gate_key: str = Field("", title="Verdict", description="Which verdict of the gate; its task returned it.")

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        return named(value)

    @field_validator("gate_key")
    @classmethod
    def _gate_key(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{16}", value):
            raise ValueError(
                f"{value!r} is no verdict. Expected the gate_key that the task gate of train_model returned"
            )
        return value


class RollbackRequest(BaseModel):
    """The form of rollback_champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    model: str = Field("", title="Model", description="The model whose champion is withdrawn.")
    to: int = Field(
        0, ge=0, title="Entry", description="Which promotion to go back to. 0: the one before the champion."
    )
    reason: str = Field("", title="Reason", description="Why, for whoever reads the champion history.")

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        return named(value)

    @field_validator("reason")
    @classmethod
    def _reason(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a rollback needs a reason; write one sentence")
        return value.strip()


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


def named(value: str) -> str:
    """A name that may stand in a path; ValueError, which Pydantic reports, for any other."""
    try:
        return checked_name(value)
    except DarkroomError as error:
        raise ValueError(error.message) from None
