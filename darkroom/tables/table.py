"""Tables of the contract: rows in Parquet files, versions in a Delta log.

Files are written first, under names of their own, and one log entry then adds them and removes those they replace.
A writer that dies before leaves only files that no version names.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from darkroom.contract import TableSpec
from darkroom.errors import InvalidRequest
from darkroom.storage import Storage
from darkroom.tables.log import Log, NamedFile
from darkroom.tables.rows import fitted, in_order, in_slices, with_partition
from darkroom.writer import written_by

TARGET_BYTES = 96 * 2**20
"""Rows are written to files of about this size, counted before compression."""


@dataclass(frozen=True)
class AddedFile:
    """A Parquet file that a worker wrote: path relative to the table (from ``new_file``), size in bytes, rows."""

    path: str
    size: int
    rows: int


class Table:
    """One table of the contract on one storage. Picklable, so that Spark workers can write its files.

    A partition is named by a value for each column of ``spec.partition_by``; those columns are not in the files.
    Errors of the storage pass through: StorageUnavailable, InvalidRequest.
    """

    def __init__(self, storage: Storage, spec: TableSpec) -> None:
        self.storage = storage
        self.spec = spec
        self.uri = storage.uri(spec.path)
        self.log = Log(storage, spec)

    def new_file(self, partition: Mapping[str, str]) -> tuple[str, str]:
        """A name that no other attempt uses: the path relative to the table, and the absolute address."""
        path = f"{self._folder(partition)}/{uuid.uuid4().hex}.parquet"
        return path, self.storage.uri(f"{self.spec.path}/{path}")

    def write_file(self, partition: Mapping[str, str], rows: pa.Table) -> AddedFile:
        """Writes rows to one new Parquet file that no version names yet; ``commit`` takes what it returns.

        Raises InvalidRequest when the rows do not fit the table's schema or another partition's are among them.
        """
        path, _ = self.new_file(partition)
        table = in_order(fitted(rows, self.spec, partition), self.spec.sort_by)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        blob = self.storage.write(f"{self.spec.path}/{path}", sink.getvalue().to_pybytes())
        return AddedFile(path, blob.size, table.num_rows)

    def commit(
        self,
        partition: Mapping[str, str],
        rows: pa.Table | Sequence[AddedFile],
        metadata: Mapping[str, Any],
        *,
        mode: Literal["replace", "append"] = "replace",
        after: int | None = None,
    ) -> int:
        """Makes rows the partition's content, or adds them to it, in one new version of the table; returns its number.

        ``rows`` are a table or files that workers wrote. No rows are a commit too. ``metadata`` is kept with it as
        JSON, and the run that writes it, where one is named (writer.py). ``after`` is the ``commit_number`` that the
        rows were made from; by default, what it is when this call starts. Raises CommitConflict, and changes nothing,
        when another writer of the partition was faster; InvalidRequest when the rows or the metadata do not fit.
        """
        if mode not in ("replace", "append"):
            raise InvalidRequest(f"The commit mode {mode!r} is unknown. Expected 'replace' or 'append'.")
        self._folder(partition)
        snapshot = self.log.open()
        number = 0 if snapshot is None else snapshot.number(self.log.application(partition))
        if after is not None and after != number:
            raise self.log.conflict(partition)
        if isinstance(rows, pa.Table):
            table = in_order(fitted(rows, self.spec, partition), self.spec.sort_by)
            files = [self.write_file(partition, piece) for piece in in_slices(table, TARGET_BYTES)]
        else:
            files = self._checked_files(partition, rows)
        actions = [added_action(file, partition) for file in files if file.rows]
        return self.log.commit(snapshot, partition, actions, {**metadata, **written_by()}, mode)

    def read(
        self,
        partition: Mapping[str, str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """The rows, sorted by ``spec.sort_by`` and then the partition columns, with the contract's schema.

        ``partition`` may name some of the partition columns; of each file only the rows ``where`` (over columns that
        are asked for) is true are kept. Empty when there is nothing. Raises InvalidRequest for an unknown column or
        version.
        """
        known = self.spec.schema.names
        names = list(known if columns is None else columns)
        if unknown := [name for name in names if name not in known]:
            raise InvalidRequest(f"{self.spec.path} has no column {unknown[0]!r}. Expected some of {known}.")
        order = [*self.spec.sort_by, *self.spec.partition_by]
        schema = pa.schema([field for field in self.spec.schema if field.name in names or field.name in order])
        parts = (self._read_file(file, schema) for file in self._files(partition, version))
        if where is not None:
            parts = (part.filter(where) for part in parts)
        return in_order(pa.concat_tables([schema.empty_table(), *parts]), order).select(names)

    def files(self, partition: Mapping[str, str] | None = None, *, version: int | None = None) -> list[str]:
        """Absolute addresses of the Parquet files of one version (the newest by default), sorted."""
        return [self.storage.uri(f"{self.spec.path}/{file.path}") for file in self._files(partition, version)]

    def named_files(self, partition: Mapping[str, str] | None = None) -> list[NamedFile]:
        """The files of the newest version, with their partition's values; sorted by path."""
        return self._files(partition, None)

    def version(self) -> int | None:
        """The newest version's number; None when the table does not exist."""
        snapshot = self.log.open()
        return None if snapshot is None else snapshot.version

    def commit_number(self, partition: Mapping[str, str]) -> int:
        """A number that grows with every commit to the partition; 0 when there was none. For ``commit(after=…)``."""
        self._folder(partition)
        snapshot = self.log.open()
        return 0 if snapshot is None else snapshot.number(self.log.application(partition))

    def last_commit(self, partition: Mapping[str, str]) -> dict[str, Any] | None:
        """Metadata of the newest commit to the partition, also where it has no rows; None when there was none."""
        self._folder(partition)
        newest = self.log.newest(partition)
        return None if newest is None else newest[1].get("metadata", {})

    def last_commits(self, partitions: Sequence[Mapping[str, str]]) -> list[dict[str, Any] | None]:
        """``last_commit`` of several partitions, in their order; the table is opened once."""
        for partition in partitions:
            self._folder(partition)
        found = self.log.newest_of(partitions)
        return [None if newest is None else newest[1].get("metadata", {}) for newest in found]

    def history(self) -> list[dict[str, Any]]:
        """Every commit, newest first: version, timestamp (ms, UTC), operation, partition and metadata."""
        return [
            {
                "version": entry["version"],
                "timestamp": entry.get("timestamp"),
                "operation": entry.get("operation"),
                "partition": entry["note"].get("partition"),
                "metadata": entry["note"].get("metadata"),
            }
            for entry in self.log.history()
        ]

    def _files(self, partition: Mapping[str, str] | None, version: int | None) -> list[NamedFile]:
        self._check_partition(partition or {})
        snapshot = self.log.open(version)
        return [] if snapshot is None else snapshot.files(partition or {})

    def _read_file(self, named: NamedFile, schema: pa.Schema) -> pa.Table:
        with self.storage.open(f"{self.spec.path}/{named.path}") as stream, pq.ParquetFile(stream) as file:
            rows = file.read(columns=[name for name in schema.names if name in file.schema_arrow.names])
            return with_partition(rows, named.partition, schema)

    def _folder(self, partition: Mapping[str, str]) -> str:
        if missing := [name for name in self.spec.partition_by if name not in partition]:
            raise InvalidRequest(
                f"The partition {dict(partition)} of {self.spec.path} lacks {missing}. "
                f"Expected a value for each of {list(self.spec.partition_by)}."
            )
        self._check_partition(partition)
        return "/".join(f"{name}={quote(partition[name], safe='')}" for name in self.spec.partition_by)

    def _check_partition(self, partition: Mapping[str, str]) -> None:
        for name, value in partition.items():
            if name not in self.spec.partition_by:
                raise InvalidRequest(
                    f"{self.spec.path} is not partitioned by {name!r}. Expected {list(self.spec.partition_by)}."
                )
            if not isinstance(value, str) or not value or "\0" in value:
                raise InvalidRequest(f"The partition value {name}={value!r} cannot be used. Expected a text.")

    def _checked_files(self, partition: Mapping[str, str], files: Sequence[AddedFile]) -> list[AddedFile]:
        folder = self._folder(partition)
        for file in files:
            if file.path.rpartition("/")[0] != folder:
                raise InvalidRequest(
                    f"The file {file.path!r} of {self.uri} is not in its partition's folder {folder!r}."
                )
            blob = self.storage.stat(f"{self.spec.path}/{file.path}")
            if blob is None or blob.size != file.size or file.rows < 0:
                found = "absent" if blob is None else f"{blob.size} bytes"
                raise InvalidRequest(f"The file {file.path!r} of {self.uri} is {found}; expected {file.size} bytes.")
        if len({file.path for file in files}) != len(files):
            raise InvalidRequest(f"A file is named twice among the {len(files)} to be committed to {self.uri}.")
        return list(files)


def added_action(file: AddedFile, partition: Mapping[str, str]) -> AddAction:
    """What a log entry says of a file that it adds."""
    now = time.time_ns() // 1_000_000
    return AddAction(file.path, file.size, dict(partition), now, True, json.dumps({"numRecords": file.rows}))
