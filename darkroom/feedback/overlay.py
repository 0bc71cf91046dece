"""Accepted feedback laid over what a source says: corrected labels, and images that only feedback knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from darkroom.contract import ACCEPTED, RAW_INDEX_SCHEMA, feedback_table, raw_blob
from darkroom.sources.layout import Described, LayoutOptions, describe
from darkroom.storage import Storage
from darkroom.tables import Table


@dataclass(frozen=True)
class Overlay:
    """Accepted feedback by image, and what it is known by: the feedback table's version (None: there is none)."""

    labels: Mapping[str, str]  # content_id -> label
    added: Mapping[str, tuple[str, int]]  # content_id -> path inside the dataset, size in bytes
    table_version: int | None = None


@dataclass(frozen=True)
class Applied:
    """An index (RAW_INDEX_SCHEMA, sorted by path) and what is said of its files, with the feedback in them."""

    index: pa.Table
    described: list[Described]
    corrected: int  # contents whose label is another one now
    added: int  # images that the source does not have


def accepted_feedback(lake: Storage, dataset: str) -> Overlay:
    """What was accepted by now; of one image all rows say the same."""
    table = Table(lake, feedback_table(dataset))
    version = table.version()
    if version is None:
        return Overlay({}, {})
    columns = ["batch", "line", "image_id", "label", "state", "path", "size_bytes"]
    rows = table.read({"dataset": dataset}, columns=columns, version=version).to_pylist()
    accepted = [row for row in rows if row["state"] == ACCEPTED]
    added = {row["image_id"]: (row["path"], row["size_bytes"]) for row in reversed(accepted) if row["path"]}
    return Overlay({row["image_id"]: row["label"] for row in accepted}, added, version)


def apply(
    index: pa.Table, described: Sequence[Described], overlay: Overlay, dataset: str, layout: LayoutOptions
) -> Applied:
    """The index and what its paths say, with the feedback. Without any, they come back as they are.

    An added image has no given split; its group follows from its file name, as for the source's own images.
    """
    rows: list[tuple[dict[str, Any], Described]] = []
    corrected: set[str] = set()
    ids = set(index["content_id"].to_pylist())
    for file, (label, given_split, group) in zip(index.to_pylist(), described, strict=True):
        said = overlay.labels.get(file["content_id"], label)
        if said != label:
            corrected.add(file["content_id"])
        rows.append((file, (said, given_split, group)))
    new = {content_id: place for content_id, place in overlay.added.items() if content_id not in ids}
    if not corrected and not new:
        return Applied(index, list(described), 0, 0)
    for content_id, (path, size) in new.items():
        file = {"path": path, "content_id": content_id, "size_bytes": size, "uri": raw_blob(dataset, content_id)}
        rows.append((file | {"etag": None}, (overlay.labels[content_id], None, describe(path, layout)[2])))
    rows.sort(key=lambda row: str(row[0]["path"]))
    joined = pa.Table.from_pylist([file for file, _ in rows], schema=RAW_INDEX_SCHEMA)
    return Applied(joined, [said for _, said in rows], len(corrected), len(new))
