"""Exploratory data analysis: what is in a dataset, on one page, for any dataset of images.

    summary = build_eda(images, None, lake.read, lake, "reports/datasets/xray/1a2b/eda", "Chest X-rays")

leaves PNG charts, ``index.html``, which holds everything and needs no other file, and ``summary.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from darkroom.codedigest import code_digest
from darkroom.contract import dataset_reports, images_table, splits_table, stable_hash
from darkroom.eda.page import Dashboard
from darkroom.eda.pictures import Read, Reader
from darkroom.eda.statistics import gather, summarize
from darkroom.errors import DataError, InvalidRequest
from darkroom.html import Page, plural
from darkroom.reader import ImageReader
from darkroom.storage import Storage
from darkroom.tables import Table

__all__ = ["build_eda", "eda_dataset"]


def build_eda(
    images: pa.Table,
    splits: pa.Table | None,
    read: Read,
    out: Storage,
    folder: str,
    title: str,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a dashboard of a dataset version, or of a split of it, below ``folder`` and returns its summary.

    ``images``: IMAGES_SCHEMA, one version. ``splits``: SPLITS_SCHEMA, one split of it: then the page shows before and
    after. ``read`` gives the bytes of an image by its ``uri``. Images that cannot be read are counted, not fatal.
    ``about`` (dataset, version, fingerprint, ...) joins the summary. ``summary.json`` is written last: where it
    stands, the rest does. The same input gives the same bytes.
    """
    facts = gather(images, splits)
    reader = Reader(read)
    told = about or {}
    parts = [f"{name.replace('_id', '')} {told[name]}" for name in ("version", "split_id") if told.get(name)]
    shown = ", ".join([*parts, plural(len(facts.files), "file"), plural(len(facts.classes), "class", "classes")])
    board = Dashboard(Page(title, shown), facts, reader, seed)
    board.build()
    summary = {**summarize(facts), **told}
    if reader.unreadable:
        summary["unreadable_pictures"] = len(set(reader.unreadable))
        count = plural(len(set(reader.unreadable)), "picture")
        board.page.callout("warning", f"{count} chosen for this page could not be read from the lake.")
    for name, data in sorted(board.files.items()):
        out.write(f"{folder}/{name}", data)
    out.write(f"{folder}/index.html", board.page.render().encode())
    out.write(f"{folder}/summary.json", json.dumps(summary, indent=1, sort_keys=True).encode())
    return summary


def eda_dataset(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """The EDA step of a DAG: {"dataset", "version", "split_id", "seed"} -> {"page", "summary", "changed"}.

    ``split_id`` may be None; ``seed`` is 0 by default. ``page`` is the dashboard's lake path. Skipped, with
    ``changed`` False, when the same page stands there. Raises InvalidRequest for a request without a dataset and a
    version, DataError when the version or the split is not there.
    """
    dataset, version, split_id = (request.get(key) for key in ("dataset", "version", "split_id"))
    if not isinstance(dataset, str) or not isinstance(version, str) or not dataset or not version:
        raise InvalidRequest(f"The EDA was asked for {request!r}. Expected a dataset and a version. Name both.")
    seed = int(request.get("seed", 0))
    folder = dataset_reports(dataset, split_id or version, "eda")
    fingerprint = stable_hash({"version": version, "split_id": split_id, "seed": seed, "code": code_digest()})
    page = f"{folder}/index.html"
    old = _summary(lake, folder)
    if old is not None and old.get("fingerprint") == fingerprint:
        return {"page": page, "summary": old, "changed": False}
    lake.delete(f"{folder}/summary.json")
    images_at = Table(lake, images_table(dataset))
    if images_at.last_commit({"version": version}) is None:
        raise DataError(f"The dataset {dataset!r} has no version {version!r}. Run the manifest step first.")
    images = images_at.read({"version": version})
    splits = None
    if split_id:
        splits_at = Table(lake, splits_table(dataset))
        if splits_at.last_commit({"split_id": split_id}) is None:
            raise DataError(f"The dataset {dataset!r} has no split {split_id!r}. Run the split step first.")
        splits = splits_at.read({"split_id": split_id})
    content_of = dict(zip(images["uri"].to_pylist(), images["content_id"].to_pylist(), strict=True))
    reader = ImageReader(lake)

    def read(uri: str) -> bytes:
        return reader.read(uri, content_of[uri])

    about = {"dataset": dataset, "version": version, "split_id": split_id, "fingerprint": fingerprint}
    summary = build_eda(images, splits, read, lake, folder, f"{dataset}: what is in the data", seed, about)
    return {"page": page, "summary": summary, "changed": True}


def _summary(lake: Storage, folder: str) -> dict[str, Any] | None:
    try:
        found = json.loads(lake.read(f"{folder}/summary.json"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
