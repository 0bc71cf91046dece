"""Files of feedback: whatever is dropped becomes rows, and none is lost."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.contract import PENDING, REJECTED
from darkroom.feedback.files import LONGEST, read_file
from darkroom.feedback.rows import UNREADABLE, Feedback, from_table, to_table
from tests.suites.feedback import HEADING, lines

pytestmark = pytest.mark.unit

ID = "ab" * 32
GOOD = (ID, "DARK", "ada", "2026-03-01T12:00:00Z")


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def columns(**changes: Any) -> dict[str, Any]:
    return {"image_id": [ID], "label": ["DARK"], "author": ["ada"], "at": ["2026-03-01T12:00:00Z"]} | changes


def only(rows: list[Feedback]) -> Feedback:
    (row,) = rows
    return row


@pytest.mark.parametrize(
    "content",
    [
        lines(GOOD).encode(),
        b"\xef\xbb\xbf" + lines(GOOD).encode(),
        lines(GOOD).encode("utf-16"),
        lines(GOOD, end="\r\n").encode(),
        lines(GOOD, end="\r").encode(),
        lines(GOOD, delimiter=";").encode(),
        lines(GOOD, delimiter="\t").encode(),
        f" At ,LABEL,Image_ID,note,author\n2026-03-01 12:00,DARK,{ID.upper()},any,ada".encode(),
        f'\n\n{HEADING}\n\n"{ID}","DARK"," ada ",2026-03-01T14:00+02:00\n\n'.encode(),
    ],
    ids=["plain", "BOM", "UTF-16", "CRLF", "CR", "semicolons", "tabs", "another order", "quotes"],
)
def it_reads_a_csv_as_any_program_writes_it(content: bytes) -> None:
    row = only(read_file("a.csv", content))
    assert (row.image_id, row.label, row.author, row.at) == (ID, "DARK", "ada", datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert (row.state, row.reason) == (PENDING, None)


@pytest.mark.parametrize(
    "at",
    [
        pa.array(["2026-03-01T12:00:00Z"]),
        pa.array([datetime(2026, 3, 1, 12)], pa.timestamp("s")),
        pa.array([1772366400_000_000_001], pa.timestamp("ns", "UTC")),
        pa.array([datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))], pa.timestamp("ms", "Europe/Paris")),
    ],
    ids=["text", "seconds", "nanoseconds", "another zone"],
)
def it_reads_parquet_with_times_of_any_kind(at: pa.Array) -> None:
    table = pa.table(columns(at=at, label=pa.array(["DARK"]).dictionary_encode(), more=[1]))
    row = only(read_file("a.parquet", parquet(table)))
    assert (row.label, row.at, row.state) == ("DARK", datetime(2026, 3, 1, 12, tzinfo=UTC), PENDING)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\n \r\n", "no lines"),
        ("a.csv", HEADING.encode(), "no rows"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\0\0", "not UTF-8"),
        ("a.csv", b"PK\x03\x04 a workbook", "missing"),
        ("a.csv", b"image_id,label,author\nx,y,z\n", "the columns at are missing"),
        ("a.csv", f"{HEADING},label\n".encode(), "there twice"),
        ("a.csv", b'"open\n', "missing"),
        ("a.xlsx", b"PK\x03\x04", "neither .csv nor .parquet"),
        ("a.parquet", b"", "empty"),
        ("a.parquet", lines(GOOD).encode(), "no Parquet"),
        ("a.parquet", parquet(pa.table(columns()))[:-20], "no Parquet"),
        ("a.parquet", parquet(pa.table(columns()))[:200] + parquet(pa.table(columns()))[260:], "no Parquet"),
        ("a.parquet", parquet(pa.table({"image_id": [ID]})), "missing"),
        ("a.parquet", parquet(pa.table(columns()).slice(0, 0)), "no rows"),
    ],
)
def it_keeps_a_file_that_cannot_be_read_as_one_row(name: str, content: bytes, told: str) -> None:
    row = only(read_file(name, content))
    assert (row.state, row.kind, row.line) == (REJECTED, UNREADABLE, 0)
    assert told in str(row.reason)


def it_refuses_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.feedback.files.MAX_BYTES", 100)
    monkeypatch.setattr("darkroom.feedback.files.MAX_ROWS", 1)
    assert "divide it" in str(only(read_file("a.csv", lines(GOOD, GOOD).encode())).reason)
    monkeypatch.setattr("darkroom.feedback.files.MAX_BYTES", 100_000)
    two = {name: values * 2 for name, values in columns().items()}
    assert "2 rows" in str(only(read_file("a.parquet", parquet(pa.table(two)))).reason)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (("../../etc/passwd", "DARK", "ada", GOOD[3]), "no SHA-256"),
        ((ID[:-1], "DARK", "ada", GOOD[3]), "no SHA-256"),
        ((f"{ID}/..", "DARK", "ada", GOOD[3]), "no SHA-256"),
        ((ID, " ", "ada", GOOD[3]), "the label is empty"),
        ((ID, "DARK", "", GOOD[3]), "the author is empty"),
        ((ID, "x" * (LONGEST + 1), "ada", GOOD[3]), "101 characters"),
        ((ID, "DARK", "a" * 100_000, GOOD[3]), "100,000 characters"),
        ((ID, "DARK", "a" * 200_000, GOOD[3]), "no CSV"),
        ((ID, "DARK\x1b[2J", "ada", GOOD[3]), "cannot be printed"),
        ((ID, "DARK\0", "ada", GOOD[3]), "cannot be printed"),
        ((ID, "DARK\u202e", "ada", GOOD[3]), "cannot be printed"),
        ((ID, "DARK", "ada", "yesterday"), "at is no time"),
        ((ID, "DARK", "ada", "0001-01-01T00:00:00+14:00"), "date value out of range"),
        ((ID, "DARK", "ada", ""), "at is no time"),
        ((ID, "DARK", "ada"), "3 fields"),
        ((ID, '"DARK', "ada", GOOD[3]), "a quote is left open"),
    ],
)
def it_refuses_a_line_that_cannot_be_read_and_reads_the_next(row: tuple[str, ...], told: str) -> None:
    first, second = read_file("a.csv", lines(row, GOOD).encode())  # type: ignore[arg-type]
    assert (first.state, first.kind, first.line) == (REJECTED, UNREADABLE, 2)
    assert told in str(first.reason)
    assert first.received is not None
    assert first.received.isprintable()
    assert len(first.received) < 1000
    assert (second.state, second.label, second.line) == (PENDING, "DARK", 3)


@pytest.mark.parametrize(
    "label", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "<script>", "'; drop table", "γάτα"]
)
def it_keeps_text_that_looks_like_a_formula_as_text(label: str) -> None:
    quoted = '"' + label.replace('"', '""') + '"'
    row = only(read_file("a.csv", lines((ID, quoted, "=1+1", GOOD[3])).encode()))
    assert (row.label, row.author, row.state) == (label, "=1+1", PENDING)


@pytest.mark.parametrize(
    "changes",
    [{"label": [None]}, {"image_id": [b"\xff"]}, {"author": [[1]]}, {"at": [3.5]}, {"at": [None]}, {"label": [True]}],
)
def it_refuses_values_of_other_types(changes: dict[str, Any]) -> None:
    assert only(read_file("a.parquet", parquet(pa.table(columns(**changes))))).kind == UNREADABLE


def it_takes_classes_that_are_named_by_numbers() -> None:
    assert only(read_file("a.parquet", parquet(pa.table(columns(label=[7]))))).label == "7"


def it_reads_a_hundred_thousand_rows() -> None:
    rows = [(f"{number:064x}", "DARK", f"a{number % 7}", "2026-03-01T12:00Z") for number in range(100_000)]
    found = read_file("a.csv", lines(*rows).encode())
    assert len({row.row_id for row in found}) == 100_000
    assert {row.state for row in found} == {PENDING}
    assert from_table(to_table(found[:1000], "lamps")) == found[:1000]
