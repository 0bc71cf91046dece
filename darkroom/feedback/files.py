"""Files of feedback to rows. Whatever a file holds, it becomes rows: what cannot be read is a row with the reason.

A CSV (comma, semicolon or tab; UTF-8 or UTF-16; any line ends) or a Parquet file with the columns image_id, label,
author and at, and others that are not looked at. Values are text and stay text. A line of a CSV is read on its own, so
that a stray quote spoils one row and no more.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import PENDING, REJECTED, stable_hash
from darkroom.feedback.rows import UNREADABLE, Feedback

COLUMNS = ("image_id", "label", "author", "at")
MAX_BYTES = 64 * 2**20  # of a file
MAX_ROWS = 1_000_000  # of a Parquet file
LONGEST = 100  # characters of a label or an author
_UNPACKED_BYTES = 512 * 2**20  # of a Parquet file
_SHOWN = 200  # characters kept of what cannot be read
_SHA256 = re.compile(r"[0-9a-f]{64}")

Record = tuple[int, Sequence[Any] | str, str]  # line; values in the order of COLUMNS, or a fault; what stood there


def batch_of(data: bytes) -> str:
    """What names a file's content: its SHA-256."""
    return hashlib.sha256(data).hexdigest()


def read_file(name: str, data: bytes) -> list[Feedback]:
    """The rows of one file, at least one, each pending or, where it cannot be read, rejected. Never raises."""
    batch = batch_of(data)
    return [_row(name, batch, *record) for record in _records(name, data)]


def _records(name: str, data: bytes) -> Iterator[Record]:
    if not data:
        yield 0, "the file is empty", ""
    elif len(data) > MAX_BYTES:
        yield 0, f"the file has more than {MAX_BYTES // 2**20} MiB; divide it", ""
    elif name.lower().endswith(".parquet"):
        yield from _parquet(data)
    elif name.lower().endswith(".csv"):
        yield from _csv(data)
    else:
        yield 0, "the file is neither .csv nor .parquet", _start(data)


def _csv(data: bytes) -> Iterator[Record]:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        yield 0, f"it is not UTF-8 text ({error.reason} at byte {error.start})", _start(data)
        return
    lines = [(number, line) for number, line in enumerate(re.split("\r\n|\n|\r", text), 1) if line.strip()]
    if not lines:
        yield 0, "the file has no lines", ""
        return
    head = lines[0][1]
    delimiter = max(",;\t", key=head.count)
    names = [value.strip().lower() for value in _fields(head, delimiter) or []]
    if fault := _wrong_columns(names):
        yield 0, fault, head
        return
    if len(lines) == 1:
        yield 0, "the file has no rows under its heading", head
        return
    places = [names.index(column) for column in COLUMNS]
    for number, line in lines[1:]:
        values = _fields(line, delimiter)
        if values is None:
            yield number, "the line is no CSV (a quote is left open, or a field is too long)", line
        elif len(values) != len(names):
            yield number, f"the line has {len(values)} fields, and the heading {len(names)}", line
        else:
            yield number, [values[place] for place in places], line


def _fields(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def _parquet(data: bytes) -> Iterator[Record]:
    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            about = file.metadata
            unpacked = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            names = file.schema_arrow.names
            if about.num_rows > MAX_ROWS or unpacked > _UNPACKED_BYTES:
                yield 0, f"the file has {about.num_rows:,} rows, {unpacked:,} bytes when unpacked; divide it", ""
                return
            if fault := _wrong_columns(names):
                yield 0, fault, ", ".join(names)
                return
            table = file.read(columns=list(COLUMNS), use_threads=False)
        columns = [_values(table[column]) for column in COLUMNS]
    except (pa.ArrowException, OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        yield 0, f"it is no Parquet file that can be read ({str(error).splitlines()[0]})", _start(data)
        return
    if not table.num_rows:
        yield 0, "the file has no rows", ""
    for number, values in enumerate(zip(*columns, strict=True), 1):
        yield number, values, ", ".join("" if value is None else str(value) for value in values)


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):  # nanoseconds have no place in Python's datetime
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())


def _wrong_columns(names: Sequence[str]) -> str | None:
    missing = [column for column in COLUMNS if column not in names]
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if not missing and not twice:
        return None
    return f"the columns {', '.join(missing or twice)} are {'missing' if missing else 'there twice'}"


def _row(name: str, batch: str, line: int, values: Sequence[Any] | str, text: str) -> Feedback:
    plain = Feedback(stable_hash([batch, line]), batch, shown(name), line, state=PENDING)
    try:
        if isinstance(values, str):
            raise ValueError(values)
        image_id, label, author = (_text(value, column) for value, column in zip(values[:3], COLUMNS, strict=False))
        if not _SHA256.fullmatch(image_id := image_id.lower()):
            raise ValueError("the image_id is no SHA-256 (64 hex digits)")
        moment = _moment(values[3])
    except (ValueError, OverflowError) as fault:
        reason = f"{UNREADABLE}: {shown(str(fault))}"
        return replace(plain, state=REJECTED, reason=reason, received=shown(text))
    return replace(plain, image_id=image_id, label=label, author=author, at=moment)


def _text(value: Any, column: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):  # of a Parquet file: classes may be named by numbers
        value = str(value)
    if not isinstance(value, str | None):
        raise ValueError(f"the {column} is no text")
    text = unicodedata.normalize("NFC", (value or "").strip())
    if not text:
        raise ValueError(f"the {column} is empty")
    if len(text) > LONGEST:
        raise ValueError(f"the {column} has {len(text):,} characters, more than {LONGEST}")
    if not text.isprintable():
        raise ValueError(f"the {column} holds characters that cannot be printed")
    return text


def _moment(value: Any) -> datetime:
    """A time without a zone is in UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError("at is no time; write it as 2026-01-31T12:00:00Z") from None
    if not isinstance(value, datetime):
        raise ValueError("at is no time; write it as 2026-01-31T12:00:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def shown(text: str) -> str:
    """The start of a text of others, safe to print: nothing in it moves a cursor or hides."""
    start = text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape", "surrogatepass").decode() for mark in start
    )


def _start(data: bytes) -> str:
    return data[: _SHOWN + 1].decode("latin-1")
