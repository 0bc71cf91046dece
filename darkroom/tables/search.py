"""Rows of a table by the start of a text, without reading the table: one column first, and only where it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.tables.log import NamedFile
from darkroom.tables.table import Table

_READERS = 8  # files of an object store that are open at a time


def find_rows(
    table: Table, column: str, start: str, columns: Sequence[str], partition: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The rows whose text in ``column`` begins with ``start``: ``columns`` and the partition's values of each.

    Of every file of the partition (or of the table) the footer is read; of the row groups whose statistics let them
    hold such a text that one column; and ``columns`` only of those that do hold one. In the order of the files.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        parts = list(pool.map(lambda file: _rows(table, file, column, start, columns), table.named_files(partition)))
    return [row for part in parts for row in part]


def _rows(table: Table, named: NamedFile, column: str, start: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with table.storage.open(f"{table.spec.path}/{named.path}") as stream, pq.ParquetFile(stream) as file:
        names = [name for name in columns if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            if not _may_hold(file.metadata.row_group(group), column, start):
                continue
            hits = pc.starts_with(file.read_row_group(group, columns=[column])[column], start)
            if pc.any(hits).as_py():
                rows: pa.Table = file.read_row_group(group, columns=names).filter(hits)
                found += [{**row, **named.partition} for row in rows.to_pylist()]
    return found


def _may_hold(group: Any, column: str, start: str) -> bool:
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema == column:
            statistics = chunk.statistics
            if statistics is None or not statistics.has_min_max:
                return True
            return bool(statistics.max >= start and statistics.min[: len(start)] <= start)
    return False
