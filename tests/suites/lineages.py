"""A lake with a whole chain: a dataset, a split, examples, two models, verdicts, champions and predictions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from darkroom import champions
from darkroom.contract import PREDICTIONS_SCHEMA, model_package, predictions_table, training_reports
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import TRANSFORM, champion_of, write_dataset

MODEL = "lamps"
AIRFLOW = "http://127.0.0.1:8080/dags/{dag}/runs/{run}"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def whole_chain(lake: Storage) -> dict[str, Any]:
    """Writes it; version 1 is champion and has classified two dates, version 2 was refused.

    The second date holds an image that version 1 was trained on. Returns {"content_ids", "packages", "first", "last"}.
    """
    write_dataset(lake, MODEL, [TRANSFORM], train=6, other=4)
    ids = [row["content_id"] for row in trained_rows(lake)]
    packages = []
    for number, word in ((1, "promote"), (2, "refuse")):
        entry = champion_of(lake, MODEL, seed=number) | {"version": str(number), "run_id": f"run-{number}"}
        packages.append(entry["package_id"])
        receipt = {
            "config": "by_hand",
            "run_id": entry["run_id"],
            "package_id": entry["package_id"],
            "key": f"k{number}",
        }
        links = {"airflow_run": AIRFLOW.format(dag="train_model", run=number)}
        receipt |= {"seconds": 3.5, "val": {"balanced_accuracy": 0.9}, "mlflow_url": f"http://mlflow/{number}", **links}
        _json(lake, f"{training_reports(MODEL, 'receipts')}/k{number}.json", receipt)
        verdict = {"verdict": word, "reasons": [f"because of {number}"], "approval": "auto", "model": MODEL}
        verdict |= {"version": str(number), "package_id": entry["package_id"], "mlflow_url": f"http://mlflow/v{number}"}
        _json(lake, f"{training_reports(MODEL, f'parent-{number}')}/gate.json", verdict | links)
        lake.write(f"{training_reports(MODEL, f'parent-{number}')}/gate.html", b"page")
        if word == "promote":
            champions.append(lake, MODEL, entry | {"details": {"by": {"name": "ada"}}}, now=NOON)
    classify(lake, "2026-03-02", packages[0], [f"{'ab' * 31}0{k}" for k in range(3)], "run-1")
    classify(lake, "2026-03-03", packages[0], [ids[0]], "run-1")
    return {"content_ids": ids, "packages": packages}


def trained_rows(lake: Storage) -> list[dict[str, Any]]:
    from darkroom.contract import splits_table

    rows: list[dict[str, Any]] = Table(lake, splits_table(MODEL)).read({"split_id": "s1"}).to_pylist()
    return rows


def classify(lake: Storage, dt: str, package_id: str, image_ids: list[str], run_id: str) -> None:
    """Rows of one date, as the predict job leaves them."""
    known = {field.name: None for field in PREDICTIONS_SCHEMA}
    partition = {"dt": dt, "feed": MODEL, "origin": "batch"}
    rows = [
        {
            **known,
            **partition,
            "image_id": one,
            "path": f"ward/{k}.png",
            "label": "DARK",
            "score": 0.75,
            "size_bytes": 9,
        }
        | {"model": MODEL, "model_version": "1", "run_id": run_id, "transform_hash": TRANSFORM.hash}
        | {"dataset_version": "v1", "predicted_at": NOON}
        for k, one in enumerate(image_ids)
    ]
    metadata = {
        "package": model_package(MODEL, package_id),
        "summary": {"images": len(rows), "labels": {"DARK": len(rows)}},
    }
    Table(lake, predictions_table(MODEL)).commit(partition, pa.Table.from_pylist(rows, PREDICTIONS_SCHEMA), metadata)


def _json(lake: Storage, path: str, value: dict[str, Any]) -> None:
    lake.write(path, json.dumps(value).encode())
