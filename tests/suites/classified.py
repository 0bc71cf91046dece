"""Dates of a feed as the predict job leaves them, without a model: an inbox and a commit that records it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from darkroom.contract import PREDICTIONS_SCHEMA, inbox, predictions_table
from darkroom.inbox import arrived, inputs_fingerprint
from darkroom.storage import Storage
from darkroom.tables import Table

NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def put(lake: Storage, dt: str, name: str, data: bytes = b"x") -> None:
    lake.write(f"inbox/clinic/dt={dt}/{name}", data)


def fill_date(lake: Storage, dt: str, images: int) -> None:
    """A date that was classified with so many images."""
    for number in range(images):
        put(lake, dt, f"{number:04}.png")
    written(lake, dt)


def written(lake: Storage, dt: str, package_id: str = "aa", **metadata: Any) -> None:
    """A commit such as the predict job makes, of what is in the inbox."""
    blobs = arrived(lake, "clinic", dt)
    partition = {"dt": dt, "feed": "clinic", "origin": "batch"}
    text = ("image_id", "model", "model_version", "run_id", "transform_hash", "dataset_version")
    folder = f"{inbox('clinic', dt)}/"
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
    note = {"inputs": inputs_fingerprint(blobs), "summary": {"package_id": package_id}} | metadata
    content = pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA)
    Table(lake, predictions_table("clinic")).commit(partition, content, note)
