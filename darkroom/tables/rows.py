"""Rows of a table: fitted to its schema, in its order, with and without their partition's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.contract import TableSpec
from darkroom.errors import InvalidRequest

_WIDE_BYTES = 2**30
_SLICE_BYTES = 2**28


def fitted(rows: pa.Table, spec: TableSpec, partition: Mapping[str, str]) -> pa.Table:
    """The rows with exactly the columns that the files of ``spec`` hold: no partition columns, types of the contract.

    Raises InvalidRequest for a missing, unknown or twice named column, a value that the type cannot hold, a null
    where none may be, and a row that says it belongs to another partition.
    """
    fields = file_schema(spec)
    names = rows.column_names
    missing = [name for name in fields.names if name not in names]
    unknown = [name for name in names if name not in spec.schema.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if missing or unknown or twice:
        raise InvalidRequest(
            f"Rows for {spec.path} do not have its columns: missing {missing}, unknown {unknown}, twice {twice}. "
            f"Expected {fields.names}."
        )
    for name in spec.partition_by:
        if name in names and (other := _other_value(rows[name], partition[name])) is not None:
            raise InvalidRequest(
                f"Rows for {spec.path} hold {name}={other}, but the partition is {dict(partition)}. "
                "Commit each partition's rows on their own."
            )
    return pa.table([_column(rows[field.name], field, spec.path) for field in fields], schema=fields)


def file_schema(spec: TableSpec) -> pa.Schema:
    """The columns that a table's files hold: all but the partition's."""
    return pa.schema([field for field in spec.schema if field.name not in spec.partition_by])


def with_partition(rows: pa.Table, partition: Mapping[str, str], schema: pa.Schema) -> pa.Table:
    """Rows of one file, given the partition's values; a column that an older file lacks is null where it may be.

    Raises InvalidRequest when the file does not hold what ``schema`` needs.
    """
    columns = []
    for field in schema:
        if field.name in partition:
            columns.append(pa.chunked_array([pa.repeat(pa.scalar(partition[field.name], field.type), rows.num_rows)]))
        elif field.name in rows.column_names:
            columns.append(_column(rows[field.name], field, "A file of the table"))
        elif field.nullable:
            columns.append(pa.chunked_array([pa.nulls(rows.num_rows, field.type)]))
        else:
            raise InvalidRequest(f"A file of the table has no column {field.name!r}. It was written for another one.")
    return pa.table(columns, schema=schema)


def in_order(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The rows sorted by the columns ``by``, ascending, stable. More than 2 GiB of binary values are fine."""
    if rows.num_rows < 2 or not by:
        return rows
    order = pc.sort_indices(rows.select(list(by)), sort_keys=[(name, "ascending") for name in by])
    if bool(np.all(np.diff(order.to_numpy().astype(np.int64)) == 1)):
        return rows
    if rows.nbytes < _WIDE_BYTES:
        return rows.take(order)
    # 32-bit offsets cannot hold a whole column: take from 64-bit ones, a slice at a time.
    wide = rows.cast(pa.schema([field.with_type(_wide(field.type)) for field in rows.schema]))
    step = max(1, rows.num_rows * _SLICE_BYTES // rows.nbytes)
    slices = [wide.take(order.slice(start, step)).cast(rows.schema) for start in range(0, rows.num_rows, step)]
    return pa.concat_tables(slices)


def in_slices(rows: pa.Table, target_bytes: int) -> list[pa.Table]:
    """The rows in pieces of about ``target_bytes`` of memory each, at least one row a piece; none for no rows."""
    if not rows.num_rows:
        return []
    pieces = min(rows.num_rows, max(1, -(-rows.nbytes // target_bytes)))
    bounds = [rows.num_rows * number // pieces for number in range(pieces + 1)]
    return [rows.slice(start, end - start) for start, end in pairwise(bounds)]


def _column(values: pa.ChunkedArray, field: pa.Field, where: str) -> pa.ChunkedArray:
    try:
        found = values if values.type == field.type else values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidRequest(
            f"{where}: column {field.name!r} is {values.type} and does not fit {field.type} ({error}). "
            "Give values of that type."
        ) from error
    if found.null_count and not field.nullable:
        raise InvalidRequest(
            f"{where}: column {field.name!r} holds {found.null_count} nulls among {len(found)} rows. Expected none."
        )
    return found


def _other_value(values: pa.ChunkedArray, expected: str) -> str | None:
    for value in pc.unique(values).to_pylist():
        if value != expected:
            return repr(value)
    return None


def _wide(kind: pa.DataType) -> pa.DataType:
    return {pa.binary(): pa.large_binary(), pa.string(): pa.large_string()}.get(kind, kind)
