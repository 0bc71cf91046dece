"""The champion history of a model: numbered entries on the lake, only ever appended to.

This is the truth about which model classifies. MLflow's alias mirrors it. Entry n+1 is made by conditional create,
so of two racing promoters each gets its own number and none is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from darkroom import contract
from darkroom.errors import CommitConflict, InvalidRequest, MachineryError, NoChampion
from darkroom.storage import Storage

ATTEMPTS = 100
BY_HAND = "by-hand"
"""In the place of the run, version, dataset version and split of a champion that no training made."""


@dataclass(frozen=True)
class Champion:
    """A model that was promoted: which package classifies, and where it came from."""

    number: int
    model: str
    package: str  # path on the lake
    package_id: str
    version: str  # version in the model registry
    run_id: str
    dataset: str
    dataset_version: str
    split_id: str
    transform_hash: str
    promoted_at: datetime  # UTC
    details: Mapping[str, Any]  # the verdict, who approved

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, as it is sent to a task or a Spark job."""
        return {**vars(self), "promoted_at": self.promoted_at.isoformat(), "details": dict(self.details)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Champion:
        known = {name: value[name] for name in Champion.__dataclass_fields__ if name != "details"}
        known["promoted_at"] = datetime.fromisoformat(value["promoted_at"]).astimezone(UTC)
        return Champion(**known, details=dict(value.get("details", {})))


def history(lake: Storage, model: str) -> list[dict[str, Any]]:
    """Every entry, oldest first: {"number", "kind": "promoted" | "withdrawn", ...}.

    Raises MachineryError for an entry that cannot be read: a history with holes says nothing for sure.
    """
    entries = []
    for number in _numbers(lake, model):
        path = contract.champion_entry(model, number)
        try:
            entry = json.loads(lake.read(path))
            if entry["number"] != number or entry["kind"] not in ("promoted", "withdrawn"):
                raise ValueError(f"number {entry['number']}, kind {entry['kind']}")
        except (ValueError, KeyError, TypeError) as error:
            raise MachineryError(
                f"The champion history entry {path} cannot be read ({error}). Expected the JSON that a promotion "
                "wrote. Restore this file from a copy of the lake."
            ) from error
        entries.append(entry)
    return entries


def _numbers(lake: Storage, model: str) -> list[int]:
    folder = contract.champion_entry(model, 0).rpartition("/")[0]
    names = [blob.path.rpartition("/")[2].removesuffix(".json") for blob in lake.list(folder)]
    return sorted(int(name) for name in names if name.isdecimal())


def current(lake: Storage, model: str, as_of: date | None = None) -> Champion | None:
    """The champion now, or at the end of the day ``as_of`` (UTC). Withdrawn ones do not count, whenever withdrawn."""
    promoted = standing(lake, model)
    if as_of is not None:
        end = datetime.combine(as_of + timedelta(days=1), time(), UTC)
        promoted = [champion for champion in promoted if champion.promoted_at < end]
    return promoted[-1] if promoted else None


def standing(lake: Storage, model: str) -> list[Champion]:
    """Every promotion that was not withdrawn, oldest first: the last is champion, the one before it was before."""
    entries = history(lake, model)
    withdrawn = {entry["withdraws"] for entry in entries if entry["kind"] == "withdrawn"}
    return [Champion.from_dict(e) for e in entries if e["kind"] == "promoted" and e["number"] not in withdrawn]


def withdrawn_because(lake: Storage, model: str, package_id: str) -> str | None:
    """Why a package must not come back, in one sentence; None for one that was not withdrawn."""
    entries = history(lake, model)
    numbers = {one["number"] for one in entries if one["kind"] == "promoted" and one["package_id"] == package_id}
    for entry in reversed(entries):
        if entry["kind"] == "withdrawn" and entry["withdraws"] in numbers:
            reason = str(entry["reason"]).rstrip(".")
            return (
                f"This very package was champion, entry {entry['withdraws']}, and was withdrawn on "
                f"{entry['promoted_at'][:10]}: {reason}."
            )
    return None


def append(lake: Storage, model: str, entry: Mapping[str, Any], *, now: datetime, after: int | None = None) -> Champion:
    """Promotes: writes the next entry, with the fields of ``Champion``, and returns it.

    The entry names the champion that it follows in ``from``. A package that is the champion already is not written
    again. Raises CommitConflict if other promoters took every number that was tried, or where the history is not as
    long as it was ``after`` that entry, when one is given.
    """
    for number in _next_numbers(lake, model, after):
        champion = current(lake, model)
        if champion is not None and champion.package_id == entry["package_id"]:
            return champion
        before = champion and {name: getattr(champion, name) for name in ("number", "version", "package_id")}
        written = _create(lake, model, number, {**entry, "kind": "promoted", "from": before}, now)
        if written:
            return Champion.from_dict(written)
    raise _overtaken(model)


def withdraw(lake: Storage, model: str, number: int, reason: str, *, now: datetime, by: str = "") -> None:
    """Takes a promotion back for all dates, by a new entry; the one before it is champion again.

    The gate refuses the withdrawn package from then on. MLflow's alias is not moved: training.registry.repair_alias
    does that. Nothing happens to one that is withdrawn already. Raises InvalidRequest for a number that is not that of
    a promotion.
    """
    entry = {"kind": "withdrawn", "withdraws": number, "reason": reason, "by": by}
    for place in _next_numbers(lake, model, None):
        entries = history(lake, model)
        kinds = {one["number"]: one["kind"] for one in entries}
        if kinds.get(number) != "promoted":
            raise InvalidRequest(
                f"Entry {number} of {model} is {kinds.get(number, 'not there')}. Expected the number of a promotion. "
                f"Look into {contract.champion_entry(model, number)}."
            )
        if any(one["kind"] == "withdrawn" and one["withdraws"] == number for one in entries):
            return
        if _create(lake, model, place, entry, now):
            return
    raise _overtaken(model)


def last_entry(lake: Storage, model: str) -> int:
    """The number of the newest entry, of either kind; 0 when there is none."""
    return max(_numbers(lake, model), default=0)


def _next_numbers(lake: Storage, model: str, after: int | None) -> Iterator[int]:
    """Numbers to try in turn; only the one after ``after``, where that is given and still the newest."""
    if after is not None:
        if last_entry(lake, model) == after:
            yield after + 1
        return
    for _ in range(ATTEMPTS):
        yield last_entry(lake, model) + 1


def _create(lake: Storage, model: str, number: int, entry: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The entry as written; None where another writer was faster."""
    written = {**entry, "number": number, "model": model, "promoted_at": now.astimezone(UTC).isoformat()}
    data = json.dumps(written, indent=1, sort_keys=True).encode()
    return written if lake.create(contract.champion_entry(model, number), data) else None


def _overtaken(model: str) -> CommitConflict:
    return CommitConflict(f"Other writers were faster in the champion history of {model}. Look at it and try again.")


def resolve_champion(lake: Storage, model: str, dt: str | None = None) -> dict[str, Any]:
    """The champion to classify with, JSON-able: the current one, or that of a date ("YYYY-MM-DD", at its end, UTC).

    Raises NoChampion in one sentence, InvalidRequest for a date that is none.
    """
    contract.checked_name(model)
    if dt is None:
        champion = current(lake, model)
        if champion is None:
            raise NoChampion(f"The model {model!r} has no champion yet; run train_model for it, then try again.")
        return champion.as_dict()
    try:
        day = date.fromisoformat(dt)
    except ValueError as error:
        raise InvalidRequest(f"The date {dt!r} is none. Expected YYYY-MM-DD, for example 2026-01-31.") from error
    champion = current(lake, model, day)
    if champion is None:
        raise NoChampion(
            f"The model {model!r} had no champion at the end of {dt}; "
            "classify with the current one, or choose a later date."
        )
    return champion.as_dict()
