"""What people ask for about dates: the forms of batch_inference, reconcile and vacuum, and a run's partition key."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from darkroom.errors import InvalidRequest
from darkroom.requests import named


class BatchRequest(BaseModel):
    """The form of batch_inference. The date is the run's partition key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feeds: list[str] = Field([], title="Feeds", description="Names of folders below inbox/. Empty: all of them.")
    mode: Literal["auto", "newest", "as_of", "rescore"] = Field(
        "auto",
        title="Model",
        description="newest: today's champion. as_of: the champion at the end of the date. rescore: the version below, "
        "else today's, also where a result was restored by hand. auto: newest on schedule, as_of otherwise.",
    )
    version: str = Field(
        "",
        title="Version",
        description="Only with rescore: a version of the model registry, such as 3, or an entry of the champion "
        "history, such as entry:2.",
    )
    dry_run: bool = Field(
        False,
        title="Dry run",
        description="Only tell what would be written and what skipped; nothing is classified. In a backfill tick "
        "'Override parameters on existing runs' too: without it Airflow sends no field of this form.",
    )

    @field_validator("feeds")
    @classmethod
    def _feeds(cls, value: list[str]) -> list[str]:
        return [named(name) for name in value]

    @model_validator(mode="after")
    def _together(self) -> BatchRequest:
        if self.version and self.mode != "rescore":
            raise ValueError(f"a version goes with the mode rescore, not with {self.mode}; clear it or choose rescore")
        return self


class ReconcileRequest(BaseModel):
    """The form of reconcile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: int = Field(
        0, ge=0, le=366, title="Days", description="How many days before the run's own are looked at. 0: the setting."
    )
    feeds: list[str] = Field([], title="Feeds", description="Names of folders below inbox/. Empty: all of them.")
    dry_run: bool = Field(False, title="Dry run", description="Only tell what would be classified again; nothing is.")

    @field_validator("feeds")
    @classmethod
    def _feeds(cls, value: list[str]) -> list[str]:
        return [named(name) for name in value]


class VacuumRequest(BaseModel):
    """The form of vacuum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: int = Field(
        0,
        ge=0,
        le=36_500,
        title="Retention",
        description="What nothing current names goes at this age. Days. 0: the setting.",
    )
    dry_run: bool = Field(True, title="Dry run", description="Only tell what would be removed. Not for a schedule.")


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
