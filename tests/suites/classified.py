"""Dates of a feed as the predict job leaves them, without a model: an inbox and a commit that records it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from darkroom.contract import PREDICTIONS_SCHEMA, inbox, predictions_table
from darkroom.inbox import arrived, inputs_fingerprint
from darkroom.storage import Storage
from darkroom.tables import Table

_SUMMARY: dict[str, Any] = {
    **dict.fromkeys(("model_version", "dataset_version", "transform_hash", "table", "predicted_at"), "x"),
    "classified": 0,
    "problems": 0,
    "labels": {},
    "incomplete": False,
    "mode": "newest",
    "told": [],
    "images_per_second": None,
    "seconds": 0,
    "total_seconds": 0,
}
NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def put(lake: Storage, dt: str, name: str, data: bytes = b"x", feed: str = "clinic") -> None:
    lake.write(f"inbox/{feed}/dt={dt}/{name}", data)


def fill_date(lake: Storage, dt: str, images: int) -> None:
    """A date that was classified with so many images."""
    for number in range(images):
        put(lake, dt, f"{number:04}.png")
    written(lake, dt)


def written(lake: Storage, dt: str, package_id: str = "aa", feed: str = "clinic", **metadata: Any) -> None:
    """A commit such as the predict job makes, of what is in the inbox."""
    blobs = arrived(lake, feed, dt)
    partition = {"dt": dt, "feed": feed, "origin": "batch"}
    text = ("image_id", "model", "model_version", "run_id", "transform_hash", "dataset_version")
    folder = f"{inbox(feed, dt)}/"
    rows = [
        {
            **dict.fromkeys(text, "x"),
            **partition,
            "path": blob.path.removeprefix(folder),
            "size_bytes": blob.size,
            "etag": blob.etag,
            "predicted_at": NOON,
        }
        for blob in blobs
    ]
    summary = {"feed": feed, "dt": dt, "model": feed, "package_id": package_id, "images": len(rows), **_SUMMARY}
    note = {"inputs": inputs_fingerprint(blobs), "summary": summary} | metadata
    content = pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA)
    Table(lake, predictions_table(feed)).commit(partition, content, note)
