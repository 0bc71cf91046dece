"""A dataset and a feed of the same name, and files of feedback on their images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from darkroom.contract import PREDICTIONS_SCHEMA, feedback_folder, images_table, inbox, predictions_table
from darkroom.feedback import Feedback, stored
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import TRANSFORM, png, write_dataset

DATASET = "lamps"
NOW = datetime(2026, 4, 1, 9, tzinfo=UTC)
DAY = "2026-03-02"
HEADING = "image_id,label,author,at"


def prepared(lake: Storage) -> list[str]:
    """A dataset of 140 squares, in turn BRIGHT and DARK; their content ids by number: 60 train, 40 val, 40 test."""
    write_dataset(lake, DATASET, [TRANSFORM])
    rows = Table(lake, images_table(DATASET)).read({"version": "v1"}, columns=["path", "content_id"]).to_pylist()
    return [row["content_id"] for row in sorted(rows, key=lambda row: int(row["path"].split("/")[-1].split(".")[0]))]


def classified(
    lake: Storage, images: Sequence[tuple[str, bytes, str]], *, dt: str = DAY, feed: str = DATASET, package: str = ""
) -> list[str]:
    """Puts (name, bytes, predicted label) into an inbox and commits their predictions; the content ids."""
    rows: list[dict[str, Any]] = []
    for name, data, label in images:
        lake.write(f"{inbox(feed, dt)}/{name}", data)
        image_id = hashlib.sha256(data).hexdigest()
        rows.append(
            {
                "image_id": image_id, "path": name, "label": label, "score": 0.9, "model": DATASET,
                "model_version": "1", "run_id": "r", "transform_hash": TRANSFORM.hash, "dataset_version": "v1",
                "size_bytes": len(data), "predicted_at": NOW, "dt": dt, "feed": feed, "origin": "batch",
            }
        )  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA)
    partition = {"dt": dt, "feed": feed, "origin": "batch"}
    Table(lake, predictions_table(DATASET)).commit(partition, table, {"package": package})
    return [row["image_id"] for row in rows]


def squares(count: int, seed: int = 900_000) -> list[tuple[str, bytes, str]]:
    """Images that the dataset does not have, in turn BRIGHT and DARK, named by patient, predicted right."""
    return [
        (f"ward/p{k}_{k}.png", png(90 if k % 2 else 165, seed + k), "DARK" if k % 2 else "BRIGHT") for k in range(count)
    ]


def drop(lake: Storage, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    lake.write(f"{feedback_folder(DATASET)}/{name}", data)


def lines(*rows: tuple[str, str, str, str], delimiter: str = ",", end: str = "\n") -> str:
    """A CSV of (image_id, label, author, at)."""
    return end.join(delimiter.join(row) for row in (tuple(HEADING.split(",")), *rows)) + end


def by_line(lake: Storage) -> dict[tuple[str, int], Feedback]:
    return {(row.file, row.line): row for row in stored(lake, DATASET)}


def states(lake: Storage) -> dict[tuple[str, int], tuple[str, str | None]]:
    """(file, line) -> state and kind of reason."""
    return {key: (row.state, row.kind) for key, row in by_line(lake).items()}
