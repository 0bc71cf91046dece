"""What one entry of a Delta log tells: files that came and went, and our note."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

NOTE = "darkroom"
"""The key of our note in an entry's commit information."""


@dataclass(frozen=True)
class Entry:
    """One version as its log entry tells it. Paths are relative to the table; ``rows`` is -1 where nobody said."""

    version: int
    at: datetime  # UTC
    note: dict[str, Any]
    added: dict[str, tuple[int, int]]  # path -> bytes, rows
    removed: set[str]


def parsed_entry(version: int, lines: list[dict[str, Any]]) -> Entry:
    """The entry in the JSON lines of one version's file."""
    at, added, removed = 0, {}, set()
    for line in lines:
        at = line.get("commitInfo", {}).get("timestamp", at)
        if add := line.get("add"):
            rows = json.loads(add.get("stats") or "{}").get("numRecords", -1)
            added[unquote(add["path"])] = (int(add["size"]), int(rows))
        if remove := line.get("remove"):
            removed.add(unquote(remove["path"]))
    return Entry(version, datetime.fromtimestamp(at / 1000, UTC), note_of(lines), added, removed)


def note_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What we noted in a version; empty for one that is not ours."""
    for line in lines:
        if NOTE in line.get("commitInfo", {}):
            return json.loads(line["commitInfo"][NOTE])
    return {}
