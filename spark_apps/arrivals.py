"""What one run of batch inference has to do: the images that arrived, the champion, and what was done before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from darkroom.codedigest import code_digest
from darkroom.contract import CONTRACT_VERSION, inbox, predictions_table, stable_hash
from darkroom.errors import StorageUnavailable
from darkroom.inbox import is_arrived
from darkroom.model import load_package
from darkroom.requests import checked_job
from darkroom.storage import Blob, Storage
from darkroom.tables import AddedFile, Table

ORIGIN = "batch"


class ChampionOfRequest(BaseModel):
    """The champion that classifies; what else the history says of it is not needed here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    package: str
    package_id: str
    version: str
    run_id: str
    dataset_version: str


class PredictRequest(BaseModel):
    """What the predict job is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feed: str
    model: str
    dt: str
    champion: ChampionOfRequest
    predicted_at: datetime
    left_out: list[str] = Field(default_factory=list, description="Feeds of the date that cannot be classified.")
    incomplete: bool = Field(False, description="The wait for the date's images ran out: zero rows.")

    @field_validator("dt")
    @classmethod
    def _date(cls, value: str) -> str:
        if date.fromisoformat(value).isoformat() != value:
            raise ValueError(f"{value!r} is not written as YYYY-MM-DD")
        return value

    @field_validator("predicted_at")
    @classmethod
    def _moment(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("predicted_at has no time zone; write it as 2026-01-31T02:00:00+00:00")
        return value.astimezone(UTC)

    @property
    def partition(self) -> dict[str, str]:
        return {"dt": self.dt, "feed": self.feed, "origin": ORIGIN}


@dataclass(frozen=True)
class Prediction:
    """What is to be done: the images that arrived, and whether they have been classified so already."""

    lake: Storage
    request: PredictRequest
    blobs: list[Blob]
    transform_hash: str
    fingerprint: str
    commit_number: int
    earlier: dict[str, Any] | None  # the summary of an earlier run whose rows stay

    @property
    def table(self) -> Table:
        return Table(self.lake, predictions_table(self.request.model))


def plan_prediction(lake: Storage, request: dict[str, Any]) -> Prediction:
    """Lists the inbox once and compares with the last commit. Where the inbox is incomplete, earlier rows stay.

    Raises InvalidRequest and ModelError.
    """
    asked = checked_job(PredictRequest, request, "predict")
    table = Table(lake, predictions_table(asked.model))
    number = table.commit_number(asked.partition)
    model = load_package(lake, asked.champion.package, package_id=asked.champion.package_id)
    blobs = [] if asked.incomplete else arrived(lake, asked.feed, asked.dt)
    fingerprint = stable_hash(
        {
            "contract": CONTRACT_VERSION,
            "inputs": [[blob.path, blob.size, blob.etag] for blob in blobs],
            "incomplete": asked.incomplete,
            "champion": asked.champion.model_dump(),
            "transform": model.transform.hash,
            "code": code_digest(),
        },
        length=64,
    )
    last = table.last_commit(asked.partition)
    stands = last and (asked.incomplete or last.get("fingerprint") == fingerprint)
    earlier = last["summary"] if last and stands else None
    return Prediction(lake, asked, blobs, model.transform.hash, fingerprint, number, earlier)


def arrived(lake: Storage, feed: str, dt: str) -> list[Blob]:
    """The files of a date's inbox by path, without markers, hidden files and files under way."""
    folder = inbox(feed, dt)
    return [blob for blob in lake.list(folder) if is_arrived(blob.path.removeprefix(f"{folder}/"))]


def check_unchanged(plan: Prediction) -> None:
    """Raises StorageUnavailable where a file that was classified is another one, or gone, since it was listed.

    Files that have arrived since are another matter: they change the date's fingerprint, and its next run reads them.
    """
    now = {blob.path: (blob.size, blob.etag) for blob in plan.lake.list(inbox(plan.request.feed, plan.request.dt))}
    changed = [blob.path for blob in plan.blobs if now.get(blob.path) != (blob.size, blob.etag)]
    if changed:
        raise StorageUnavailable(
            f"{plan.lake.uri(changed[0])} was replaced or removed while it was classified, as were "
            f"{len(changed) - 1:,} other files. No row of this attempt shows; run it again once no one writes there."
        )


def commit_predictions(plan: Prediction, files: Sequence[AddedFile], summary: dict[str, Any]) -> int:
    """Replaces the date's rows; the summary and the fingerprint are kept with the commit.

    Raises CommitConflict, and StorageUnavailable where the inbox's files are no longer those that were classified.
    """
    if plan.blobs:
        check_unchanged(plan)
    metadata = {
        "fingerprint": plan.fingerprint,
        "package": plan.request.champion.package,
        "transform_hash": plan.transform_hash,
        "code_digest": code_digest(),
        "summary": summary,
    }
    return plan.table.commit(plan.request.partition, files, metadata, mode="replace", after=plan.commit_number)
