"""Parquet files that workers write: a row group in memory at a time, named by no version before the driver commits."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.tables import Table

FILE_ROWS, FILE_BYTES = 4096, 128 * 2**20  # a file is full at either; bytes of the binary column
GROUP_ROWS, GROUP_BYTES = 256, 16 * 2**20  # a row group likewise: what a reader must hold at once


class RowFile:
    """One file of one partition, whose rows are mostly one ``binary`` column, which is not compressed."""

    def __init__(self, table: Table, partition: dict[str, str], *, binary: str) -> None:
        self._table, self._partition, self._binary = table, partition, binary
        self._fields = pa.schema([field for field in table.spec.schema if field.name not in table.spec.partition_by])
        names = self._fields.names
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(
            self._sink,
            self._fields,
            compression={name: "none" if name == binary else "zstd" for name in names},
            use_dictionary=[name for name in names if name not in ("content_id", binary)],
            write_statistics=["content_id"],
        )
        self._rows: list[dict[str, Any]] = []  # of the row group that is being filled
        self._bytes = self._written = self._written_bytes = 0

    @property
    def full(self) -> bool:
        return self._written + len(self._rows) >= FILE_ROWS or self._written_bytes + self._bytes >= FILE_BYTES

    def add(self, row: dict[str, Any]) -> None:
        size = len(row[self._binary])
        if self._rows and self._bytes + size > GROUP_BYTES:
            self._flush()
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= GROUP_ROWS:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Writes the file; returns its path relative to the table, its size in bytes and its rows."""
        self._flush()
        self._writer.close()
        path, _ = self._table.new_file(self._partition)
        blob = self._table.storage.write(f"{self._table.spec.path}/{path}", self._sink.getvalue())
        return {"path": path, "size": blob.size, "rows": self._written}

    def _flush(self) -> None:
        if self._rows:
            columns = {name: [row[name] for row in self._rows] for name in self._fields.names}
            self._writer.write_table(pa.table(columns, schema=self._fields), row_group_size=len(self._rows))
            self._written += len(self._rows)
            self._written_bytes += self._bytes
            self._rows, self._bytes = [], 0
