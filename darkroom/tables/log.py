"""The Delta log of one table through the deltalake library: opening, committing, what a commit says of itself.

A commit to a partition carries an application transaction named by table and partition. Of commits that start from
the same version, the log takes one of that name; on a partition without files nothing else would make them collide.
Its number is the version that the commit expects to become, plus one. Commits to other partitions can only push it
on, so the newest commit to a partition is found from there without reading the whole log.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from darkroom.contract import TableSpec
from darkroom.errors import CommitConflict, DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.storage import Storage
from darkroom.tables.entries import NOTE, Entry, note_of, parsed_entry
from darkroom.tables.faults import explained, sentence

_CONFIGURATION: Mapping[str, str | None] = {
    "delta.enableExpiredLogCleanup": "false",  # the notes of old commits stay
    "delta.checkpointInterval": "20",  # opening a table reads every entry after the newest checkpoint
}
_RETRIES = 50  # of a commit that meets those of other partitions


@dataclass(frozen=True)
class NamedFile:
    """A file that a version names: path relative to the table, size in bytes, the partition's values."""

    path: str
    size: int
    partition: dict[str, str]


class Snapshot:
    """One version of a table as it was when it was opened. ``told`` explains errors: entries are read when needed."""

    def __init__(self, delta: DeltaTable, told: Callable[[str], AbstractContextManager[None]]) -> None:
        self.delta = delta
        self._told = told
        self.version: int = delta.version()

    def number(self, application: str) -> int:
        """The number of the application's newest commit; 0 when there is none."""
        with self._told("read"):
            return self.delta.transaction_version(application) or 0

    def files(self, partition: Mapping[str, str]) -> list[NamedFile]:
        """The files of the partitions that have these values, sorted by path."""
        with self._told("read"):
            names = self.delta.metadata().partition_columns
            actions = pa.table(self.delta.get_add_actions(flatten=True)).to_pylist()
        found = []
        for action in actions:
            values = {name: action[f"partition.{name}"] for name in names}
            if all(values[name] == value for name, value in partition.items()):
                found.append(NamedFile(unquote(action["path"]), action["size_bytes"], values))
        return sorted(found, key=lambda file: file.path)


class Log:
    """The Delta log of ``spec`` on ``storage``. Keeps nothing open, so that it can be pickled."""

    def __init__(self, storage: Storage, spec: TableSpec) -> None:
        self.storage = storage
        self.spec = spec
        self.uri = storage.uri(spec.path)

    def application(self, partition: Mapping[str, str]) -> str:
        return f"{self.spec.path}/{json.dumps([partition[name] for name in self.spec.partition_by])}"

    def open(self, version: int | None = None) -> Snapshot | None:
        """The newest version, or the one that is asked for; None when the table does not exist.

        Raises InvalidRequest for a version that the table does not have.
        """
        with self._told("read"):
            try:
                snapshot = Snapshot(DeltaTable(self.uri, storage_options=self._options()), self._told)
            except TableNotFoundError:
                self.storage.folders(self.spec.path)  # says so when the folder is there and cannot be read
                if version is not None:
                    raise InvalidRequest(f"{self.uri} has no version {version}: it does not exist yet.") from None
                return None
            if version is None or version == snapshot.version:
                return snapshot
            if not 0 <= version < snapshot.version:
                raise InvalidRequest(
                    f"{self.uri} has no version {version}. Expected a number from 0 to {snapshot.version}."
                )
            return Snapshot(DeltaTable(self.uri, version=version, storage_options=self._options()), self._told)

    def commit(
        self,
        snapshot: Snapshot | None,
        partition: Mapping[str, str],
        actions: list[AddAction],
        metadata: Mapping[str, Any],
        mode: Literal["replace", "append"],
        *,
        old_files: bool = False,
    ) -> int:
        """Lands one version on top of ``snapshot``; its number.

        ``old_files``: the actions name files of earlier versions, so that no ``mark`` may land meanwhile. Raises
        CommitConflict when another writer of the partition was faster.
        """
        attempt = uuid.uuid4().hex
        note = {NOTE: _json({"partition": dict(partition), "metadata": dict(metadata), "attempt": attempt})}
        first = 0 if snapshot is None else snapshot.version + 1
        failure: DarkroomError | None = None
        try:
            if snapshot is not None or not self._create(actions, self._properties(note, partition, 1, retries=0)):
                self._write(snapshot or self._just_made(partition), partition, actions, note, mode, old_files)
        except (CommitConflict, StorageUnavailable) as error:
            failure = error  # an answer that was lost is asked again by the library, which then meets its own commit
        if (version := self._landed(first, attempt)) is not None:
            return version
        raise failure or self.conflict(partition)

    def mark(self, snapshot: Snapshot, kept_from: int) -> None:
        """Notes in a version of its own, before any file goes, that versions before ``kept_from`` may lose theirs.

        Raises CommitConflict when another mark, or a commit of old files, has landed since ``snapshot``.
        """
        with self._told("commit to"):
            snapshot.delta.create_write_transaction(
                [],
                mode="append",
                schema=snapshot.delta.schema(),
                partition_by=snapshot.delta.metadata().partition_columns,
                commit_properties=self._properties({NOTE: _json({"kept_from": kept_from})}, None, snapshot.version + 2),
            )

    def entries(self, versions: Iterable[int]) -> list[Entry]:
        """What the log says of these versions, in their order."""
        return [parsed_entry(version, self._entry(version)) for version in versions]

    def newest(self, partition: Mapping[str, str]) -> tuple[int, dict[str, Any]] | None:
        """Version and note of the newest commit to the partition; None when there was none."""
        return self.newest_of([partition])[0]

    def newest_of(self, partitions: Sequence[Mapping[str, str]]) -> list[tuple[int, dict[str, Any]] | None]:
        """``newest`` of several partitions, in their order, at one version of the table."""
        snapshot = self.open()
        if snapshot is None:
            return [None] * len(partitions)
        recent = self._recent(snapshot, partitions) if len(partitions) > 1 else {}
        return [
            recent.get(self.application(partition)) or self._newest_in(snapshot, partition) for partition in partitions
        ]

    def _recent(
        self, snapshot: Snapshot, partitions: Sequence[Mapping[str, str]]
    ) -> dict[str, tuple[int, dict[str, Any]]]:
        """The newest commits of those partitions that the last entries name; each entry is read once for all."""
        wanted = {self.application(partition) for partition in partitions}
        found: dict[str, tuple[int, dict[str, Any]]] = {}
        for version in range(snapshot.version, max(-1, snapshot.version - 2 * len(wanted)), -1):
            lines = self._entry(version)
            for name in (wanted - found.keys()) & {line.get("txn", {}).get("appId") for line in lines}:
                found[name] = version, note_of(lines)
            if len(found) == len(wanted):
                break
        return found

    def _newest_in(self, snapshot: Snapshot, partition: Mapping[str, str]) -> tuple[int, dict[str, Any]] | None:
        application = self.application(partition)
        if not (number := snapshot.number(application)):
            return None
        for version in range(number - 1, snapshot.version + 1):
            lines = self._entry(version)
            if any(line.get("txn", {}).get("appId") == application for line in lines):
                return version, note_of(lines)
        raise StorageUnavailable(
            f"The log of {self.uri} lacks the commit to {dict(partition)} that it counts. Restore its _delta_log."
        )

    def conflict(self, partition: Mapping[str, str]) -> CommitConflict:
        return CommitConflict(
            f"Another writer committed to {dict(partition)} of {self.uri} first. Nothing of this attempt shows. "
            "Run it again: it starts from what is there now."
        )

    def history(self) -> list[dict[str, Any]]:
        """Every commit, newest first, with what deltalake says of it and our note, parsed, under "note"."""
        snapshot = self.open()
        if snapshot is None:
            return []
        with self._told("read"):
            entries = snapshot.delta.history()
        return [entry | {"note": json.loads(entry.get(NOTE, "{}"))} for entry in entries]

    def _create(self, actions: list[AddAction], properties: CommitProperties) -> bool:
        """Makes the table with its first commit. False when another writer has just made it.

        Tried once: the library would try again as version 1, and a second creation doubles the rows.
        """
        try:
            with self._told("create"):
                create_table_with_add_actions(
                    self.uri,
                    Schema.from_arrow(self.spec.schema),
                    actions,
                    mode="error",
                    partition_by=list(self.spec.partition_by),
                    configuration=_CONFIGURATION,
                    storage_options=self._options(),
                    commit_properties=properties,
                )
        except (CommitConflict, StorageUnavailable):
            if self.open() is None:
                raise
            return False
        return True

    def _write(
        self,
        snapshot: Snapshot,
        partition: Mapping[str, str],
        actions: list[AddAction],
        note: dict[str, str],
        mode: Literal["replace", "append"],
        old_files: bool,
    ) -> None:
        filters = [(name, "=", partition[name]) for name in self.spec.partition_by]
        current = {file.path: file for file in snapshot.files(partition)}
        changes: list[AddAction | RemoveAction] = [action for action in actions if action.path not in current]
        overwrite = mode == "replace"
        if overwrite and len(changes) < len(actions):
            # Files that stay must not be removed and added in one entry: the Delta protocol forbids it.
            kept = {action.path for action in actions}
            changes += [_removed(file) for path, file in current.items() if path not in kept]
            overwrite = False
        with self._told("commit to"):
            snapshot.delta.create_write_transaction(
                changes,
                mode="overwrite" if overwrite else "append",
                schema=Schema.from_arrow(self.spec.schema),
                partition_by=list(self.spec.partition_by),
                partition_filters=filters if overwrite else None,
                commit_properties=self._properties(note, partition, snapshot.version + 2, old_files=old_files),
            )

    def _properties(
        self,
        note: dict[str, str],
        partition: Mapping[str, str] | None,
        number: int,
        *,
        retries: int = _RETRIES,
        old_files: bool = False,
    ) -> CommitProperties:
        names = [self.application(partition)] if partition is not None else []
        names += [f"{self.spec.path}/kept"] if old_files or partition is None else []
        transactions = [Transaction(name, number) for name in names]
        return CommitProperties(custom_metadata=note, max_commit_retries=retries, app_transactions=transactions)

    def _just_made(self, partition: Mapping[str, str]) -> Snapshot:
        """The table that another writer has just made, when that one did not write this partition."""
        snapshot = self.open()
        if snapshot is None or snapshot.number(self.application(partition)):
            raise self.conflict(partition)
        return snapshot

    def _landed(self, first: int, attempt: str) -> int | None:
        """The version from ``first`` on that holds the attempt; None when none does."""
        for version in itertools.count(first):
            try:
                lines = self._entry(version)
            except FileNotFoundError:
                return None
            if note_of(lines).get("attempt") == attempt:
                return version
        return None

    def _entry(self, version: int) -> list[dict[str, Any]]:
        text = self.storage.read(f"{self.spec.path}/_delta_log/{version:020d}.json").decode()
        return [json.loads(line) for line in text.splitlines() if line]

    def _options(self) -> dict[str, str] | None:
        return self.storage.delta_options() or None

    @contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Turns what deltalake raises into one of our errors, without its colours and stack."""
        try:
            yield
        except DarkroomError:
            raise
        except CommitFailedError as error:
            raise CommitConflict(
                f"Another writer committed to {self.uri} first ({sentence(error)}). Nothing of this attempt shows. "
                "Run it again: it starts from what is there now."
            ) from error
        except (DeltaError, OSError) as error:
            self.storage.folders(self.spec.path)  # names the cause better where the storage itself does not answer
            raise explained(error, f"Could not {action} the table {self.uri}") from error


def _removed(file: NamedFile) -> RemoveAction:
    values: dict[str, str | None] = dict(file.partition)
    return RemoveAction(file.path, True, time.time_ns() // 1_000_000, file.size, values)


def _json(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"Metadata of a commit is kept as JSON, and it cannot hold this one: {error}.") from error
