"""A dataset as prepare_dataset makes it, with accepted feedback in it, without Spark."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import RAW_INDEX_SCHEMA, raw_blob, raw_index, splits_table
from darkroom.imagestats import measure
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.manifest import MEASURED_SCHEMA, cluster, existing_result, image_rows, plan_manifest
from tests.suites.feedback import DATASET

LAYOUT = {"groups": r"^(p\d+)_"}
OPTIONS = {"proportions": {"train": 0.4, "val": 0.2, "test": 0.4}, "seed": 1}


def fetched(lake: Storage, images: Iterable[tuple[str, bytes]]) -> str:
    """An index as a download leaves it, of (path, bytes): a folder a class, the patient in the file name."""
    rows = []
    for path, data in images:
        content_id = hashlib.sha256(data).hexdigest()
        uri = raw_blob(DATASET, content_id)
        lake.create(uri, data)
        rows.append({"path": path, "content_id": content_id, "size_bytes": len(data), "uri": uri})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), sink)
    lake.write(raw_index(DATASET, "source"), sink.getvalue())
    return raw_index(DATASET, "source")


def prepare(lake: Storage, index: str) -> dict[str, Any]:
    """Manifest and split, as prepare_dataset makes them, without Spark."""
    plan = plan_manifest(lake, {"dataset": DATASET, "raw_index": index, "layout": LAYOUT})
    changed = existing_result(plan) is None
    if changed:
        addresses = dict(zip(plan.index["content_id"].to_pylist(), plan.index["uri"].to_pylist(), strict=True))
        found = {content_id: vars(measure(lake.read(uri))).copy() for content_id, uri in sorted(addresses.items())}
        for one in found.values():
            one["thumbnail"] = one["thumbnail"].tobytes()
        rows = [{"content_id": content_id, **one} for content_id, one in found.items()]
        measured = pa.Table.from_pylist(rows, schema=MEASURED_SCHEMA)
        rows_of_images = image_rows(plan, measured, cluster(measured))
        plan.table.commit(plan.partition, rows_of_images, {"summary": {"version": plan.version}})
    chosen = {"dataset": DATASET, "version": plan.version}
    done = split_dataset(lake, {**chosen, "options": OPTIONS})
    request = {**chosen, "split_id": done["split_id"]}
    return {"request": request, "changed": changed, "feedback": plan.feedback, "split": done}


def splits_of(lake: Storage, prepared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = Table(lake, splits_table(DATASET)).read({"split_id": prepared["request"]["split_id"]})
    return {row["content_id"]: row for row in rows.to_pylist()}
