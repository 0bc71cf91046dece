"""A table's past: the results that a partition had, making one of them current again, and giving up the oldest.

Every entry of a log stays, so what each version named is always known. Before a file goes, a mark in the log says from
which version on all files are there; a check of the lake misses none of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.storage import Blob
from darkroom.tables.entries import Entry
from darkroom.tables.log import Log, Snapshot
from darkroom.tables.table import AddedFile, Table, added_action

_TRIES = 5


@dataclass(frozen=True)
class Result:
    """What one commit made of a partition. ``there``: whether all its files are, as far as the marks say."""

    version: int
    at: datetime  # UTC
    files: dict[str, tuple[int, int]]  # path relative to the table -> bytes, rows
    metadata: dict[str, Any]
    there: bool

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.files.values())


def kept_from(entries: Sequence[Entry]) -> int:
    """The oldest version whose files are all kept."""
    return max([int(entry.note["kept_from"]) for entry in entries if "kept_from" in entry.note], default=0)


def named_files(entries: Sequence[Entry], first: int) -> dict[str, tuple[int, int]]:
    """Path -> (bytes, rows) of every file that version ``first`` or a later one names."""
    named: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.version <= first:
            named = {path: size for path, size in named.items() if path not in entry.removed}
        named |= entry.added
    return named


def results_of(table: Table, partition: Mapping[str, str]) -> list[Result]:
    """Every result that the partition had, newest first; empty when nobody has written it."""
    return _results(_entries(table.log)[0], partition)


def _entries(log: Log) -> tuple[list[Entry], Snapshot | None]:
    snapshot = log.open()
    return ([], None) if snapshot is None else (log.entries(range(snapshot.version + 1)), snapshot)


def _results(entries: Sequence[Entry], partition: Mapping[str, str]) -> list[Result]:
    kept = named_files(entries, kept_from(entries))
    found: list[Result] = []
    files: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.note.get("partition") != dict(partition):
            continue
        files = {path: size for path, size in files.items() if path not in entry.removed} | entry.added
        found.append(
            Result(entry.version, entry.at, files, entry.note.get("metadata", {}), files.keys() <= kept.keys())
        )
    return found[::-1]


def restore_partition(table: Table, partition: Mapping[str, str], version: int | None, *, now: datetime) -> Result:
    """Makes an earlier result of the partition current again by committing its old files; the result it is now.

    ``version`` is that of a commit to the partition; None is the one before the newest. The commit keeps the old one's
    metadata, and says under ``restored`` which version it was, which it replaced and when. Other partitions stay as
    they are. Raises InvalidRequest for a version that the partition does not have, that is current, or whose files are
    gone; CommitConflict when another writer or a vacuum was faster.
    """
    entries, snapshot = _entries(table.log)
    results = _results(entries, partition)
    wanted = _chosen(table, partition, results, version)
    files = [AddedFile(path, size, rows) for path, (size, rows) in sorted(wanted.files.items())]
    if not wanted.there or not all(_is_there(table, file) for file in files):
        raise InvalidRequest(
            f"The files of version {wanted.version} of {dict(partition)} in {table.uri} are gone: they were older than "
            "the retention. Choose a version that `darkroom partition history` shows as there, or classify it again."
        )
    restored = {"version": wanted.version, "replaced": results[0].version, "at": now.isoformat()}
    metadata = {**wanted.metadata, "restored": restored}
    actions = [added_action(file, partition) for file in files]
    # On top of the version that was looked at: what a vacuum has marked since then is met as a conflict.
    made = table.log.commit(snapshot, partition, actions, metadata, "replace", old_files=True)
    return Result(made, now, wanted.files, metadata, True)


def _chosen(table: Table, partition: Mapping[str, str], results: Sequence[Result], version: int | None) -> Result:
    known = ", ".join(str(result.version) for result in results) or "none"
    what = f"The partition {dict(partition)} of {table.uri}"
    if version is None:
        if len(results) < 2:
            raise InvalidRequest(f"{what} has no earlier result. Its versions: {known}.")
        return results[1]
    found = [result for result in results if result.version == version]
    if not found:
        raise InvalidRequest(f"{what} has no result of version {version}. Expected one of: {known}.")
    if found[0].files == results[0].files:
        raise InvalidRequest(f"{what} has the files of version {version} already. Nothing is to be restored.")
    return found[0]


def _is_there(table: Table, file: AddedFile) -> bool:
    blob = table.storage.stat(f"{table.spec.path}/{file.path}")
    return blob is not None and blob.size == file.size


def vacuum_table(table: Table, before: datetime, *, dry_run: bool) -> list[Blob]:
    """Removes the files that no version has named since ``before``, and those of killed writers that are older.

    Versions that were current at ``before`` or later stay whole. Returns what was removed, or would be. A mark lands
    before the first file goes: killed at any moment, the table is whole, and the next vacuum goes on. Raises
    CommitConflict when other writers were faster every time.
    """
    for number in range(1, _TRIES + 1):
        entries, snapshot = _entries(table.log)
        if snapshot is None:
            return []
        first = max([kept_from(entries), *(entry.version for entry in entries if entry.at <= before)])
        kept = named_files(entries, first)
        old = _old_files(table, kept.keys() | _current(snapshot), before)
        if dry_run or not old:
            return old
        if first > kept_from(entries):
            try:
                table.log.mark(snapshot, first)
            except CommitConflict:
                if number == _TRIES:
                    raise
                continue
        break
    # What landed since then names new files, or old ones of versions that are kept: a restore of others meets the mark.
    newest = table.log.open()
    current = set() if newest is None else _current(newest)
    removed = [blob for blob in old if blob.path.removeprefix(f"{table.spec.path}/") not in current]
    for blob in removed:
        table.storage.delete(blob.path)
    return removed


def _current(snapshot: Snapshot) -> set[str]:
    return {file.path for file in snapshot.files({})}


def _old_files(table: Table, kept: set[str], before: datetime) -> list[Blob]:
    start = f"{table.spec.path}/"
    return [
        blob
        for blob in table.storage.list(table.spec.path)
        if not blob.path.startswith(f"{start}_delta_log/")
        and blob.path.removeprefix(start) not in kept
        and blob.modified <= before
    ]
