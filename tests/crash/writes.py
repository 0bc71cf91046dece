"""The kinds of write that Darkroom makes, each with what a reader sees before and after it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.tables.rows import in_slices
from tests.suites.rows import OTHER, PARTITION, SPEC, rows

OLD, NEW = b"old" * 1_000, b"new and longer" * 1_000
LONG = b"long" * 9 * 2**20
OLD_ROWS, NEW_ROWS, OTHER_ROWS = rows(30, "old"), rows(40, "new"), rows(10, "other")


@dataclass(frozen=True)
class Write:
    """What is there before, the write as a caller does it (a rerun does nothing twice), and what a reader sees."""

    prepare: Callable[[Storage], object]
    act: Callable[[Storage], object]
    look: Callable[[Storage], Any]


def _nothing(_: Storage) -> None:
    return None


def _blobs(storage: Storage) -> dict[str, bytes]:
    return {blob.path: storage.read(blob.path) for blob in storage.list()}


def _rows(storage: Storage) -> pa.Table:
    return Table(storage, SPEC).read()


def _commit(content: pa.Table, fingerprint: str, **options: Any) -> Callable[[Storage], None]:
    def act(storage: Storage) -> None:
        table = Table(storage, SPEC)
        last = table.last_commit(PARTITION)
        if last is None or last["fingerprint"] != fingerprint:
            # Several files, so that a reader could see a part of them.
            files = [table.write_file(PARTITION, piece) for piece in in_slices(content, 2_000)]
            table.commit(PARTITION, files, {"fingerprint": fingerprint}, **options)

    return act


def _two_partitions(storage: Storage) -> None:
    Table(storage, SPEC).commit(OTHER, OTHER_ROWS, {"fingerprint": "other"})
    Table(storage, SPEC).commit(PARTITION, OLD_ROWS, {"fingerprint": "old"})


WRITES = {
    "blob, new": Write(_nothing, lambda storage: storage.write("a/x", NEW), _blobs),
    "blob, replaced": Write(
        lambda storage: storage.write("a/x", OLD), lambda storage: storage.write("a/x", NEW), _blobs
    ),
    "blob, from a long stream": Write(
        lambda storage: storage.write("a/x", OLD), lambda storage: storage.write("a/x", io.BytesIO(LONG)), _blobs
    ),
    "blob, created": Write(_nothing, lambda storage: storage.create("a/1.json", NEW), _blobs),
    "blob, deleted": Write(lambda storage: storage.write("a/x", OLD), lambda storage: storage.delete("a/x"), _blobs),
    "table, created with its first rows": Write(_nothing, _commit(NEW_ROWS, "new"), _rows),
    "partition, new": Write(
        lambda storage: Table(storage, SPEC).commit(OTHER, OTHER_ROWS, {}), _commit(NEW_ROWS, "new"), _rows
    ),
    "partition, replaced": Write(_two_partitions, _commit(NEW_ROWS, "new"), _rows),
    "partition, emptied": Write(_two_partitions, _commit(NEW_ROWS.slice(0, 0), "none"), _rows),
    "partition, appended to": Write(_two_partitions, _commit(NEW_ROWS, "new", mode="append"), _rows),
}
