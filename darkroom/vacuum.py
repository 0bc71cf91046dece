"""Giving up what nothing current names and nobody needs any more: old versions, raw images, examples, reports.

One rule for all of it: a file goes when it is older than the retention and nothing that is kept names it. What names
goes before what is named, so that a vacuum that is killed leaves a whole lake, and the next one goes on.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import TableSpec, examples_table, features_table, feedback_indexes, package_of_state
from darkroom.errors import CommitConflict
from darkroom.kept import Kept, what_is_kept
from darkroom.storage import Blob, Storage
from darkroom.tables import AddedFile, Table
from darkroom.tables.retention import results_of, vacuum_table

_INDEX = re.compile(r"raw/([^/]+)/index/[^/]+\.parquet")
_RECEIPT = re.compile(r"raw/[^/]+/receipts/[^/]+\.json")
_BLOB = re.compile(r"raw/([^/]+)/blobs/.+")
_TRAINING = re.compile(r"reports/training/[^/]+/([^/]+)/.+")
_DATASET_REPORT = re.compile(r"reports/datasets/([^/]+)/([^/]+)/.+")


@dataclass(frozen=True)
class Removal:
    """Something that was removed, or would be: a file, or rows of examples, whose files go a retention later."""

    kind: str
    path: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.path} ({self.size:,} bytes)"


def vacuum_lake(lake: Storage, before: datetime, *, dry_run: bool) -> Iterator[Removal]:
    """Removes what is older than ``before`` (UTC) and what nothing current names; yields each when it is gone.

    Tables keep every version that was current at ``before`` or later, so that it can be read and restored. A dry run
    yields the same and changes nothing.
    """
    kept = what_is_kept(lake, before)
    for table in _tables(lake):
        try:
            for blob in vacuum_table(table, before, dry_run=dry_run):
                yield Removal("table file", blob.path, blob.size)
        except CommitConflict:
            continue  # it is being written to: its turn comes with the next vacuum
    yield from _examples(lake, kept, before, dry_run)
    for kind, blob in _old(lake, kept, before):
        if not dry_run:
            lake.delete(blob.path)
        yield Removal(kind, blob.path, blob.size)
    for blob in list(lake.unfinished()):
        if blob.modified <= before:
            if not dry_run:
                lake.discard(blob)
            yield Removal("unfinished write", blob.path, blob.size)


def _tables(lake: Storage) -> list[Table]:
    logs = {blob.path.partition("/_delta_log/")[0] for blob in lake.list("tables") if "/_delta_log/" in blob.path}
    return [Table(lake, TableSpec(path, pa.schema([]), (), ())) for path in sorted(logs)]


def _examples(lake: Storage, kept: Kept, before: datetime, dry_run: bool) -> Iterator[Removal]:
    """Takes rows of transforms that no champion names, and files of images in no kept split, out of the newest versions
    of the examples and the features.

    Their files go like those of any replaced version, a retention later. What training needs again is made again.
    """
    for dataset, found in kept.datasets.items():
        for kind, spec in (("examples", examples_table(dataset)), ("features", features_table(dataset))):
            table = Table(lake, spec)
            partitions = {tuple(one["partition"].items()) for one in table.history() if one["partition"]}
            for partition in map(dict, sorted(partitions)):
                for path, size in _taken_out(table, partition, kept, found.contents, before, dry_run):
                    yield Removal(kind, f"{spec.path}/{path}", size)


def _taken_out(
    table: Table, partition: dict[str, str], kept: Kept, contents: Set[str], before: datetime, dry_run: bool
) -> Iterator[tuple[str, int]]:
    """Path and bytes of each file that a partition's newest version gives up."""
    number = table.commit_number(partition)
    newest = results_of(table, partition)[0]
    if newest.at > before or not newest.files:
        return
    stay = [
        AddedFile(path, size, rows)
        for path, (size, rows) in sorted(newest.files.items())
        if partition["transform_hash"] in kept.transforms and not contents.isdisjoint(_contents(table, path))
    ]
    if len(stay) == len(newest.files):
        return
    if not dry_run:
        try:
            table.commit(partition, stay, {**newest.metadata, "vacuumed": before.isoformat()}, after=number)
        except CommitConflict:
            return  # rows are being made: they are young
    names = {file.path for file in stay}
    yield from ((path, size) for path, (size, _) in sorted(newest.files.items()) if path not in names)


def _contents(table: Table, path: str) -> list[str]:
    with table.storage.open(f"{table.spec.path}/{path}") as stream, pq.ParquetFile(stream) as file:
        names: list[str] = file.read(columns=["content_id"], use_threads=False)["content_id"].to_pylist()
        return names


def _old(lake: Storage, kept: Kept, before: datetime) -> Iterator[tuple[str, Blob]]:
    """Files outside the tables, what names first."""
    raw = list(lake.list("raw"))
    named = {dataset: set(found.uris) for dataset, found in kept.datasets.items()}
    gone: set[str] = set()
    for blob in raw:
        if (match := _INDEX.fullmatch(blob.path)) and match[1] in kept.datasets:
            uris = set(_uris(lake, blob.path))
            current = kept.datasets[match[1]].uris
            # A source's index stands for a version; one of feedback for images that are accepted one by one.
            by_feedback = blob.path.startswith(feedback_indexes(match[1]))
            named_now = not uris.isdisjoint(current) if by_feedback else uris <= current
            if blob.modified <= before and not named_now:
                gone.add(blob.path)
            else:
                named[match[1]] |= uris
    for blob in raw:
        if _RECEIPT.fullmatch(blob.path) and blob.modified <= before:
            index = str(_json(lake, blob.path).get("index_path"))
            if index in gone or lake.stat(index) is None:
                yield "receipt", blob
    yield from (("index", blob) for blob in raw if blob.path in gone)
    for blob in raw:
        match = _BLOB.fullmatch(blob.path)
        if match and match[1] in named and blob.modified <= before and blob.path not in named[match[1]]:
            yield "raw image", blob
    yield from _reports(lake, kept, before)
    for blob in list(lake.list("packages")):
        if blob.modified <= before and blob.path not in kept.packages:
            yield "package", blob
    for blob in list(lake.list("states")):
        if blob.modified <= before and package_of_state(blob.path) not in kept.packages:
            yield "state", blob
    for folder in ("jobs", "reports/runs"):
        yield from (("outcome", blob) for blob in list(lake.list(folder)) if blob.modified <= before)


def _reports(lake: Storage, kept: Kept, before: datetime) -> Iterator[tuple[str, Blob]]:
    for blob in list(lake.list("reports/training")):
        match = _TRAINING.fullmatch(blob.path)
        if match is None or blob.modified > before or match[1] in kept.runs or blob.path in kept.receipts:
            continue
        yield "training receipt" if match[1] == "receipts" else "training report", blob
    for blob in list(lake.list("reports/datasets")):
        match = _DATASET_REPORT.fullmatch(blob.path)
        if match is None or blob.modified > before or (found := kept.datasets.get(match[1])) is None:
            continue
        if match[2] not in found.versions | found.splits:
            yield "dataset report", blob


def _json(lake: Storage, path: str) -> dict[str, object]:
    found = json.loads(lake.read(path))
    return found if isinstance(found, dict) else {}


def _uris(lake: Storage, path: str) -> list[str]:
    uris: list[str] = (
        pq.ParquetFile(io.BytesIO(lake.read(path))).read(columns=["uri"], use_threads=False)["uri"].to_pylist()
    )
    return uris
