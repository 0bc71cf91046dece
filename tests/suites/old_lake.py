"""A lake of which much is old: what a vacuum must remove, beside everything that it must leave."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom import champions
from darkroom.codedigest import code_digest
from darkroom.contract import (
    RAW_INDEX_SCHEMA,
    SPLITS_SCHEMA,
    images_table,
    model_package,
    predictions_table,
    raw_blob,
    raw_index,
    raw_receipt,
    splits_table,
)
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from tests.packages import TRANSFORM, champion_of, png, write_dataset

NOW = datetime.now(UTC)
OTHER = ImageTransform(width=8, height=8)
GONE = {
    "examples": 1, "table file": 2, "receipt": 1, "index": 1, "raw image": 4, "training report": 1,
    "training receipt": 1, "dataset report": 2, "package": 1, "outcome": 2,
}  # fmt: skip
"""How many files of each kind a vacuum removes, when all of it is old."""


def _index(lake: Storage, name: str, uris: list[str]) -> None:
    rows = [
        {"path": uri, "content_id": uri.rpartition("/")[2], "size_bytes": len(lake.read(uri)), "uri": uri}
        for uri in uris
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), sink)
    lake.write(raw_index("lamps", name), sink.getvalue())
    receipt = {"index_path": raw_index("lamps", name), "index_id": name}
    lake.write(raw_receipt("lamps", f"of-{name}"), json.dumps(receipt).encode())


def _blob(lake: Storage, data: bytes) -> str:
    uri = raw_blob("lamps", hashlib.sha256(data).hexdigest())
    lake.write(uri, data)
    return uri


def fill_with_old(lake: Storage) -> None:
    """A dataset with an old version, an old split and two transforms; a champion, a withdrawn and a refused model."""
    write_dataset(lake, "lamps", [TRANSFORM, OTHER], train=6, other=4)
    images = Table(lake, images_table("lamps")).read()
    _index(lake, "current", images["uri"].to_pylist())
    old = [_blob(lake, f"old {number}".encode()) for number in range(3)]
    _index(lake, "old", [*old, images["uri"][0].as_py()])
    _blob(lake, b"nobody names it")
    splits = Table(lake, splits_table("lamps"))
    newest = splits.read({"split_id": "s1"})
    for split_id in ("s0", "s1"):
        content = newest.set_column(
            newest.schema.get_field_index("split_id"),
            SPLITS_SCHEMA.field("split_id"),
            pa.array([split_id] * len(newest)),
        )
        splits.commit({"split_id": split_id}, content, {"split_id": split_id, "version": "v1", "policy": "p"})
    champions.append(lake, "lamps", champion_of(lake), now=NOW)
    champions.append(lake, "lamps", champion_of(lake, threshold=0.8) | {"version": "2"}, now=NOW)
    champions.withdraw(lake, "lamps", 2, "wrong labels", now=NOW)
    champion_of(lake, threshold=0.9)  # refused, and trained by other code
    refused = champion_of(lake, threshold=0.7, code_digest=code_digest())["package"]
    for run in ("run-1", "run-4", "run-9"):
        lake.write(f"reports/training/lamps/{run}/gate.html", b"page")
    crowned, gone = champion_of(lake)["package"], model_package("lamps", "f" * 64)
    for name, receipt in {
        "kept": {"package": crowned, "run_id": "run-1"},
        "gone": {"package": gone, "run_id": "run-9"},
        "refused": {"package": refused, "run_id": "run-3"},
        "gate": {
            "challenger": {"package": refused, "run_id": "run-3"},
            "page": "reports/training/lamps/run-4/gate.html",
        },
    }.items():
        lake.write(f"reports/training/lamps/receipts/{name}.json", json.dumps(receipt).encode())
    for path in ("s0/eda/index.html", "s1/eda/index.html", "v1/eda/index.html", "v0/eda/index.html"):
        lake.write(f"reports/datasets/lamps/{path}", b"page")
    lake.write("jobs/driver/result.json", b"{}")
    lake.write("reports/runs/dry-run/1.html", b"page")
    lake.write("inbox/lamps/dt=2026-01-01/a.png", png(90, 1))
    predictions = Table(lake, predictions_table("lamps"))
    for count in (3, 2):
        row = dict.fromkeys(("image_id", "model", "model_version", "run_id", "transform_hash"), "x")
        row |= {"dataset_version": "v1", "size_bytes": 1, "predicted_at": NOW, "feed": "lamps", "origin": "batch"}
        content = [row | {"path": f"{n}.png", "dt": "2026-01-01"} for n in range(count)]
        table = pa.Table.from_pylist(content, schema=predictions.spec.schema)
        predictions.commit({"dt": "2026-01-01", "feed": "lamps", "origin": "batch"}, table, {})
