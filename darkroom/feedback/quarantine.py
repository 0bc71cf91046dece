"""Feedback's way into a dataset: files are read into a table, every row is checked, and people decide.

The table is one partition that each change replaces in one commit. A change that another writer overtook is made
again on top of theirs; one that was killed left nothing, and running it again does it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom import contract
from darkroom.contract import ACCEPTED, PENDING, REJECTED, stable_hash
from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.feedback.files import COLUMNS, MAX_BYTES, batch_of, read_file
from darkroom.feedback.known import world_of
from darkroom.feedback.rows import (
    BY_PERSON,
    GONE,
    SUPERSEDED,
    UNKNOWN_IMAGE,
    UNKNOWN_LABEL,
    UNREADABLE,
    Feedback,
    from_table,
    to_table,
)
from darkroom.feedback.rules import Arrival, World, judge
from darkroom.inbox import is_arrived
from darkroom.reader import is_local, read_in_order
from darkroom.settings import get_settings
from darkroom.splitting_flow import newest_version
from darkroom.storage import Storage
from darkroom.tables import Table

ATTEMPTS = 30
AUTO = "auto"
"""``decided_by`` of what no person accepted."""

Change = Callable[[list[Feedback]], list[Feedback]]


@dataclass(frozen=True)
class Choice:
    """Which rows someone decides on: some by their ids, and all that are pending, or those of one file."""

    rows: tuple[str, ...] = ()
    batch: str | None = None
    every: bool = False
    new_classes: tuple[str, ...] = ()


def stored(lake: Storage, dataset: str) -> list[Feedback]:
    """All feedback that was ever read, in the order of files and lines."""
    return from_table(Table(lake, contract.feedback_table(dataset)).read({"dataset": dataset}))


def check(lake: Storage, dataset: str, *, now: datetime) -> dict[str, Any]:
    """Reads the files that are new, judges every row that no one decided on, and says what it did.

    With the setting feedback_auto_accept, what passes is accepted. Running it again changes nothing. Raises
    InvalidRequest for a dataset that was never prepared.
    """
    folder = contract.feedback_folder(dataset)
    paths = [blob.path for blob in lake.list(folder) if is_arrived(blob.path.removeprefix(f"{folder}/"))]
    contents = read_in_order(lambda path: lake.read(path, limit=MAX_BYTES + 1), paths, local=is_local(lake))
    files = {
        batch_of(data): (path.removeprefix(f"{folder}/"), data) for path, data in zip(paths, contents, strict=True)
    }
    told: dict[str, Any] = {"files": len(paths), "new_files": 0, "new_rows": 0}

    def checked(rows: list[Feedback]) -> list[Feedback]:
        known = {row.batch for row in rows}
        new = [row for batch in sorted(files.keys() - known) for row in read_file(*files[batch])]
        told.update(new_files=len(files.keys() - known), new_rows=len(new))
        if not rows and not new:
            return []
        world = world_of(lake, dataset, [*rows, *new])
        limit = get_settings().feedback_per_author
        found = judge([*rows, *new], world, limit)
        if get_settings().feedback_auto_accept:
            chosen = {row.row_id for row in found if row.state == PENDING}
            found = judge(*_accepted(lake, dataset, found, chosen, world, AUTO, now), limit)
        return found

    rows, changed = _change(lake, dataset, checked, {"action": "check", "by": AUTO})
    return {"dataset": dataset, **told, **counts(rows), "changed": changed}


def check_if_prepared(lake: Storage, dataset: str, *, now: datetime) -> dict[str, Any] | None:
    """``check``, where the dataset has a version that feedback can be about; otherwise None, and it waits."""
    if newest_version(lake, dataset) is None:
        return None
    return check(lake, dataset, now=now)


def accept(lake: Storage, dataset: str, choice: Choice, *, by: str, now: datetime) -> dict[str, Any]:
    """Accepts rows: they are part of the dataset's next version. Images from inboxes are copied into raw/ first.

    Pending ones, or by id any but those of unknown images and unreadable ones; an unknown label only as one of
    ``new_classes``. What was accepted for the same image with another label is superseded. Raises InvalidRequest,
    and accepts nothing, where one of the chosen rows cannot be accepted.
    """

    def decided(rows: list[Feedback]) -> list[Feedback]:
        fresh = [
            replace(row, decided_by=None, decided_at=None) if row.row_id in choice.rows and row.rejected else row
            for row in rows
        ]
        world = world_of(lake, dataset, fresh)
        world = replace(world, labels=world.labels | {_class_name(name) for name in choice.new_classes})
        limit = get_settings().feedback_per_author
        judged = judge(fresh, world, limit)
        chosen = _chosen(judged, choice)
        _refuse([row for row in judged if row.row_id in choice.rows])
        return judge(*_accepted(lake, dataset, judged, chosen, world, by, now), limit)

    rows, changed = _change(lake, dataset, decided, {"action": "accept", "by": by})
    return {"dataset": dataset, **counts(rows), "changed": changed}


def reject(lake: Storage, dataset: str, choice: Choice, reason: str, *, by: str, now: datetime) -> dict[str, Any]:
    """Rejects rows for good, accepted ones too: then the dataset's next version is without them.

    What cannot be read is rejected already, and keeps that reason.
    """

    def decided(rows: list[Feedback]) -> list[Feedback]:
        chosen = _chosen(rows, choice)
        told = f"{BY_PERSON}: {reason}"
        found = [
            row.decide(by, now, rejected=told)
            if row.row_id in chosen and row.reason != told and row.kind != UNREADABLE
            else row
            for row in rows
        ]
        return judge(found, world_of(lake, dataset, found), get_settings().feedback_per_author)

    rows, changed = _change(lake, dataset, decided, {"action": "reject", "by": by})
    return {"dataset": dataset, **counts(rows), "changed": changed}


def add(lake: Storage, dataset: str, image_id: str, label: str, *, author: str, at: datetime) -> str:
    """Drops a file with one row into the dataset's folder; its batch. The same again is the same file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, (image_id, label, author, at.isoformat())])
    data = text.getvalue().encode()
    name = f"{at.astimezone(UTC):%Y-%m-%dT%H%M%S}-{stable_hash(text.getvalue())}.csv"
    lake.create(f"{contract.feedback_folder(dataset)}/{name}", data)
    return batch_of(data)


def counts(rows: Sequence[Feedback]) -> dict[str, Any]:
    """How many rows are in each state, and how many were rejected for each reason."""
    states = Counter(row.state for row in rows)
    reasons = Counter(row.kind for row in rows if row.rejected and row.kind)
    by_state: dict[str, Any] = {state: states[state] for state in (PENDING, ACCEPTED, REJECTED)}
    return by_state | {"reasons": dict(sorted(reasons.items()))}


def sentence(done: Mapping[str, Any]) -> str:
    """What ``check``, ``accept`` or ``reject`` did, and how things stand."""
    read = ""
    if "files" in done:
        read = f"{done['new_files']:,} new of {done['files']:,} files, {done['new_rows']:,} rows read; "
    why = ", ".join(f"{kind} {count:,}" for kind, count in done["reasons"].items())
    return (
        f"{done['dataset']}: {read}{'' if done['changed'] else 'nothing changed; '}{done[PENDING]:,} pending, "
        f"{done[ACCEPTED]:,} accepted, {done[REJECTED]:,} rejected{f' ({why})' if why else ''}."
    )


def _change(lake: Storage, dataset: str, change: Change, note: dict[str, Any]) -> tuple[list[Feedback], bool]:
    """Applies a change to the rows as they are, again where another writer was faster; whether it changed any."""
    table = Table(lake, contract.feedback_table(dataset))
    partition = {"dataset": dataset}
    attempts = 0
    while True:
        number = table.commit_number(partition)
        before = stored(lake, dataset)
        rows = sorted(change(before), key=lambda row: (row.batch, row.line))
        if rows == before:
            return rows, False
        try:
            table.commit(partition, to_table(rows, dataset), note | counts(rows), after=number)
            return rows, True
        except CommitConflict:
            attempts += 1
            if attempts == ATTEMPTS:
                raise


def _chosen(rows: Sequence[Feedback], choice: Choice) -> set[str]:
    known = {row.row_id for row in rows}
    if unknown := sorted(set(choice.rows) - known):
        raise InvalidRequest(
            f"There is no feedback {', '.join(unknown[:3])}. Expected ids as `darkroom feedback list` prints them."
        )
    if choice.batch is not None and not any(row.batch.startswith(choice.batch) for row in rows):
        raise InvalidRequest(f"No feedback came in a file {choice.batch}. Expected a batch that is listed.")
    if not choice.rows and choice.batch is None and not choice.every:
        raise InvalidRequest("No feedback was named. Give ids of rows, --batch or --all.")
    by_state = {
        row.row_id
        for row in rows
        if row.state == PENDING and (choice.every or (choice.batch is not None and row.batch.startswith(choice.batch)))
    }
    return by_state | set(choice.rows)


def _refuse(chosen: Sequence[Feedback]) -> None:
    final = (UNREADABLE, UNKNOWN_IMAGE, GONE, UNKNOWN_LABEL)
    refused = [f"{row.row_id}: {row.reason}" for row in chosen if row.kind in final]
    if refused:
        more = f" and {len(refused) - 3:,} more" if len(refused) > 3 else ""
        raise InvalidRequest(f"This feedback cannot be accepted. {'; '.join(refused[:3])}{more}. Nothing was accepted.")


def _class_name(name: str) -> str:
    if not name.strip() or name != name.strip() or not name.isprintable() or "/" in name or len(name) > 100:
        raise InvalidRequest(f"{name!r} cannot be a class. Expected 1 to 100 printable characters without '/'.")
    return name


def _accepted(
    lake: Storage, dataset: str, rows: list[Feedback], chosen: set[str], world: World, by: str, now: datetime
) -> tuple[list[Feedback], World]:
    """The rows with the chosen ones accepted, of one image the newest last; images that arrived are copied.

    An image whose bytes are no longer those that were classified is not accepted, and gone from the world.
    """
    arrived = dict(world.arrived)
    found = {row.row_id: row for row in rows}
    copied: list[dict[str, Any]] = []
    standing: dict[str | None, list[str]] = {}
    for row in rows:
        if row.accepted:
            standing.setdefault(row.image_id, []).append(row.row_id)
    for row in sorted((found[row_id] for row_id in chosen), key=lambda row: row.order):
        if row.accepted:
            continue
        taken = row.decide(by, now)
        image_id = str(row.image_id)
        if image_id not in world.images:
            arrival = arrived.get(image_id)
            file = _copied(lake, dataset, image_id, arrival) if arrival else None
            if arrival is None or file is None:
                arrived[image_id] = None
                continue
            copied.append(file)
            taken = replace(taken, path=arrival.path, size_bytes=file["size_bytes"])
        for other in standing.get(row.image_id, []):
            if found[other].label != row.label:
                reason = f"{SUPERSEDED}: {row.row_id} was accepted"
                found[other] = found[other].decide(by, now, rejected=reason)
        found[row.row_id] = taken
        standing.setdefault(row.image_id, []).append(row.row_id)
    if copied:
        _name_blobs(lake, dataset, copied)
    return [found[row.row_id] for row in rows], replace(world, arrived=arrived)


def _copied(lake: Storage, dataset: str, image_id: str, arrival: Arrival) -> dict[str, Any] | None:
    """The image's row of an index once its bytes are in raw/; None where they are gone, others, or too many."""
    try:
        data = lake.read(arrival.uri, limit=get_settings().max_image_bytes + 1)
    except FileNotFoundError:
        return None
    if hashlib.sha256(data).hexdigest() != image_id:
        return None
    uri = contract.raw_blob(dataset, image_id)
    lake.create(uri, data)
    return {"path": arrival.path, "content_id": image_id, "size_bytes": len(data), "uri": uri, "etag": None}


def _name_blobs(lake: Storage, dataset: str, copied: list[dict[str, Any]]) -> None:
    """An index of its own names the blobs, as others do for those of sources: nothing in raw/ goes unnamed."""
    rows = sorted({row["content_id"]: row for row in copied}.values(), key=lambda row: str(row["path"]))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=contract.RAW_INDEX_SCHEMA), sink, compression="zstd")
    name = stable_hash([[row["path"], row["content_id"]] for row in rows])
    lake.create(contract.feedback_index(dataset, name), sink.getvalue())
