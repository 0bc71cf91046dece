"""One record of feedback: what someone says an image shows, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from darkroom.contract import ACCEPTED, FEEDBACK_SCHEMA, PENDING, REJECTED

UNREADABLE = "unreadable"
UNKNOWN_IMAGE = "unknown image"
GONE = "image gone"
UNKNOWN_LABEL = "unknown label"
TOO_MANY = "too many from one author"
DUPLICATE = "duplicate"
SUPERSEDED = "superseded"
CONTRADICTION = "contradicting labels"
BY_PERSON = "rejected by a person"
REASONS = (
    UNREADABLE, UNKNOWN_IMAGE, GONE, UNKNOWN_LABEL, TOO_MANY, DUPLICATE, SUPERSEDED, CONTRADICTION, BY_PERSON,
)  # fmt: skip


@dataclass(frozen=True)
class Feedback:
    """A row of FEEDBACK_SCHEMA, without its partition. Times are in UTC."""

    row_id: str
    batch: str
    file: str
    line: int
    image_id: str | None = None
    label: str | None = None
    author: str | None = None
    at: datetime | None = None
    state: str = PENDING
    reason: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    received: str | None = None

    @property
    def kind(self) -> str | None:
        """The first words of the reason: one of REASONS, or None."""
        return None if self.reason is None else self.reason.partition(":")[0]

    @property
    def decided(self) -> bool:
        """Whether someone accepted or rejected it; the checks leave such a row as it is."""
        return self.decided_by is not None

    @property
    def accepted(self) -> bool:
        return self.state == ACCEPTED

    @property
    def rejected(self) -> bool:
        return self.state == REJECTED

    def decide(self, by: str, now: datetime, *, rejected: str | None = None) -> Feedback:
        """The row as someone accepted it or, with a reason, rejected it; then nothing of an image's place is kept."""
        told = replace(self, decided_by=by, decided_at=now.astimezone(UTC), reason=rejected)
        if rejected is None:
            return replace(told, state=ACCEPTED)
        return replace(told, state=REJECTED, path=None, size_bytes=None)

    @property
    def order(self) -> tuple[datetime, str, int]:
        """Sorts rows by when they were said."""
        return self.at or datetime.min.replace(tzinfo=UTC), self.batch, self.line


_COLUMNS = tuple(field.name for field in fields(Feedback))


def to_table(rows: Iterable[Feedback], dataset: str) -> pa.Table:
    """The rows as FEEDBACK_SCHEMA."""
    listed = list(rows)
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in listed] for name in _COLUMNS}
    columns["dataset"] = [dataset] * len(listed)
    return pa.table({name: columns[name] for name in FEEDBACK_SCHEMA.names}, schema=FEEDBACK_SCHEMA)


def from_table(table: pa.Table) -> list[Feedback]:
    """What ``to_table`` made, in the table's order."""
    columns = {name: table[name].to_pylist() for name in _COLUMNS}
    for name in ("at", "decided_at"):
        columns[name] = [_utc(value) for value in columns[name]]
    return [Feedback(**dict(zip(_COLUMNS, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)
