"""What one run of batch inference has to do: the images that arrived, the champion, and what was done before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from darkroom.codedigest import code_digest, other_code
from darkroom.contract import BATCH, CONTRACT_VERSION, inbox, predictions_table, stable_hash
from darkroom.errors import StorageUnavailable
from darkroom.inbox import arrived, inputs_fingerprint
from darkroom.package import read_package
from darkroom.requests import checked_job
from darkroom.storage import Blob, Storage
from darkroom.tables import AddedFile, Table


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
    mode: Literal["newest", "as_of", "rescore", "reconcile"] = Field("newest", description="How the model was chosen.")
    note: str = Field("", description="What readers of the results should know of that choice.")
    planned_by: str = Field("", description="Digest of the code that made this request.")

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
        return {"dt": self.dt, "feed": self.feed, "origin": BATCH}


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
    reasons: list[str]  # why rows are written, or why those of an earlier run stay
    told: list[str]  # what somebody should know: another model than expected, other code, a restored result

    @property
    def table(self) -> Table:
        return Table(self.lake, predictions_table(self.request.model))


def plan_prediction(lake: Storage, request: dict[str, Any]) -> Prediction:
    """Lists the inbox once and compares with the last commit.

    The earlier rows stay where nothing changed, where the inbox is incomplete, and where they were restored by hand:
    then only the mode "rescore" replaces them. Raises InvalidRequest and ModelError.
    """
    asked = checked_job(PredictRequest, request, "predict")
    table = Table(lake, predictions_table(asked.model))
    number = table.commit_number(asked.partition)
    package = read_package(lake, asked.champion.package, package_id=asked.champion.package_id)
    blobs = [] if asked.incomplete else arrived(lake, asked.feed, asked.dt)
    fingerprint = stable_hash(
        {
            "contract": CONTRACT_VERSION,
            "inputs": [[blob.path, blob.size, blob.etag] for blob in blobs],
            "incomplete": asked.incomplete,
            "champion": asked.champion.model_dump(),
            "transform": package.transform.hash,
            "code": code_digest(),
        },
        length=64,
    )
    last = table.last_commit(asked.partition)
    stays = last and _why_it_stays(asked, last, fingerprint)
    return Prediction(
        lake,
        asked,
        blobs,
        package.transform.hash,
        fingerprint,
        number,
        earlier=last["summary"] if last and stays else None,
        reasons=[stays] if stays else _differences(asked, last, blobs),
        told=_told(asked, last),
    )


def _why_it_stays(asked: PredictRequest, last: dict[str, Any], fingerprint: str) -> str | None:
    if asked.incomplete:
        return "the inbox is not complete"
    if last.get("restored") and asked.mode != "rescore":
        return "restored by hand"
    return "nothing changed" if last.get("fingerprint") == fingerprint else None


def _told(asked: PredictRequest, last: dict[str, Any] | None) -> list[str]:
    """What somebody should know of this run, in sentences: another model than expected, other code, a held result."""
    told = [asked.note] if asked.note else []
    if asked.planned_by not in ("", code_digest()):
        told.append(f"this run was planned by code {asked.planned_by} and goes on with {code_digest()}.")
    if last and (sentence := other_code(last)):
        told.append(sentence)
    if last and last.get("restored") and asked.mode != "rescore":
        told.append(
            f"its rows were restored by hand from version {last['restored']['version']} and stay; "
            "only the mode rescore replaces them."
        )
    return told


def _differences(asked: PredictRequest, last: dict[str, Any] | None, blobs: Sequence[Blob]) -> list[str]:
    """Why the date is classified, against what the last commit records."""
    if last is None:
        return ["no rows yet"]
    found = []
    summary = last.get("summary", {})
    if last.get("package") != asked.champion.package:
        found.append(f"model version {summary.get('model_version')} before, {asked.champion.version} now")
    if last.get("inputs") != inputs_fingerprint(blobs):
        found.append("other images")
    if last.get("code_digest") != code_digest():
        found.append("other code")
    if last.get("restored"):
        found.append("restored by hand before")
    return found or ["another request"]


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
        "inputs": inputs_fingerprint(plan.blobs),
        "package": plan.request.champion.package,
        "transform_hash": plan.transform_hash,
        "code_digest": code_digest(),
        "summary": summary,
    }
    return plan.table.commit(plan.request.partition, files, metadata, mode="replace", after=plan.commit_number)
