"""Inboxes: which of their files have arrived, and how one is filled with images of a dataset for trials."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

import pyarrow.compute as pc

from darkroom.contract import TEST, images_table, inbox, inbox_binding, splits_table, stable_hash
from darkroom.errors import DataError
from darkroom.reader import ImageReader
from darkroom.storage import Blob, Storage
from darkroom.tables import Table

_UNDER_WAY = (".part", ".partial", ".filepart", ".tmp", "_tmp", ".temp", ".crdownload", "._copying_")
"""Ends of names under which writers fill a file before they rename it: rsync, browsers, FTP clients, hadoop fs."""


def is_arrived(path: str) -> bool:
    """Whether a file of an inbox is to be read: not hidden, not a marker (dot or underscore), not under way."""
    return not any(name.startswith(("_", ".")) or name.lower().endswith(_UNDER_WAY) for name in path.split("/"))


def arrived(lake: Storage, feed: str, dt: str) -> list[Blob]:
    """The files of a date's inbox by path, without markers, hidden files and files under way. Costs a listing."""
    folder = inbox(feed, dt)
    return [blob for blob in lake.list(folder) if is_arrived(blob.path.removeprefix(f"{folder}/"))]


def inputs_fingerprint(blobs: Sequence[Blob]) -> str:
    """64 hex digits over names, sizes and etags of a date's images, in the order of ``arrived``."""
    return stable_hash([[blob.path, blob.size, blob.etag] for blob in blobs], length=64)


def fill_inbox(
    lake: Storage, *, dataset: str, version: str, split_id: str, feed: str, dates: list[str], per_date: int, seed: int
) -> int:
    """Copies a seeded sample of the test split into inbox/<feed>/dt=<date>/, and binds the feed to the dataset's model.

    Each date gets its own images, at most ``per_date`` of them, under their content_id. Files that are there stay as
    they are, so that doing it again changes nothing. Returns how many images the dates hold. Raises DataError when the
    test split is empty.
    """
    splits = Table(lake, splits_table(dataset)).read({"split_id": split_id}, columns=["content_id", "split"])
    wanted = splits.filter(pc.equal(splits["split"], TEST))["content_id"].to_pylist()
    if not wanted:
        raise DataError(
            f"The split {split_id} of {dataset} has no test images to put into the inbox. Prepare it again."
        )
    images = Table(lake, images_table(dataset)).read({"version": version}, columns=["content_id", "uri", "path"])
    sources = {row["content_id"]: row for row in reversed(images.to_pylist())}
    order = sorted(wanted, key=lambda content_id: stable_hash(f"{seed}/{feed}/{content_id}", 32))
    per_date = min(per_date, max(1, len(order) // len(dates)))
    lake.write(inbox_binding(feed), json.dumps({"model": dataset}).encode())
    reader, placed = ImageReader(lake), 0
    for number, dt in enumerate(dates):
        folder = inbox(feed, dt)
        present = {blob.path for blob in lake.list(folder)}
        for content_id in order[number * per_date : (number + 1) * per_date]:
            suffix = PurePosixPath(sources[content_id]["path"]).suffix.lower()
            target = f"{folder}/{content_id[:16]}{suffix}"
            if target not in present:
                lake.write(target, reader.read(sources[content_id]["uri"], content_id))
            placed += 1
        lake.create(f"{folder}/_SUCCESS", b"")
    return placed
