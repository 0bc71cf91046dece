"""The predict job: one feed and date of the inbox, to tables/predictions/<model> and a run summary beside it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from darkroom.contract import prediction_reports
from darkroom.outcome import run_job
from darkroom.prediction_page import prediction_page
from darkroom.storage import Storage, open_lake
from spark_apps.arrivals import Prediction, commit_predictions, plan_prediction
from spark_apps.predict import predict_inbox
from spark_apps.session import spark_session

log = logging.getLogger(__name__)


def classify(request: dict[str, Any]) -> dict[str, Any]:
    """Classify what arrived; where nothing arrived or nothing changed, no Spark session is started."""
    lake = open_lake()
    started = time.monotonic()
    plan = plan_prediction(lake, request)
    told = {"left_out": plan.request.left_out, "incomplete": plan.request.incomplete}
    if plan.earlier is not None:
        log.info("Nothing changed: the rows of an earlier run stay, %s images.", f"{plan.earlier['images']:,}")
        return {**write_summary(lake, plan.earlier), **told, "changed": False}
    if plan.blobs:
        with spark_session("darkroom-predict") as spark:
            working = time.monotonic()
            counts = predict_inbox(spark, plan)
            seconds = time.monotonic() - working
    else:
        why = "was not complete when the wait ended" if plan.request.incomplete else "holds no images"
        log.warning("The inbox of %s for %s %s: zero rows.", plan.request.feed, plan.request.dt, why)
        counts, seconds = predict_inbox(None, plan), 0.0
    files = counts.pop("files")
    summary = summarise(plan, counts, seconds, time.monotonic() - started)
    commit_predictions(plan, files, summary)
    return {**write_summary(lake, summary), **told, "changed": True}


def summarise(plan: Prediction, counts: dict[str, Any], seconds: float, total: float) -> dict[str, Any]:
    """What a person wants to know of the run. ``seconds`` of classifying, ``total`` with the session's start."""
    images, request = counts["images"], plan.request
    bad = sum(counts["problems"].values())
    classified = images - bad
    return {
        "feed": request.feed,
        "dt": request.dt,
        "model": request.model,
        "model_version": request.champion.version,
        "package_id": request.champion.package_id,
        "dataset_version": request.champion.dataset_version,
        "transform_hash": plan.transform_hash,
        "predicted_at": request.predicted_at.isoformat(),
        "incomplete": request.incomplete,
        "images": images,
        "classified": classified,
        "problems": bad,
        "problem_kinds": counts["problems"],
        "bad_files": counts["bad_files"],
        "labels": counts["labels"],
        "label_shares": {label: number / classified for label, number in counts["labels"].items()},
        "seconds": round(seconds, 3),
        "total_seconds": round(total, 3),
        "images_per_second": round(images / seconds, 1) if seconds else None,
        "table": plan.table.spec.path,
    }


def write_summary(lake: Storage, summary: dict[str, Any]) -> dict[str, Any]:
    """Puts summary.json and index.html beside each other and returns what the task keeps of them."""
    folder = prediction_reports(summary["model"], summary["dt"], summary["feed"])
    lake.write(f"{folder}/summary.json", json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False).encode())
    lake.write(f"{folder}/index.html", prediction_page(summary).encode())
    kept = {name: value for name, value in summary.items() if name != "bad_files"}
    return {**kept, "page": f"{folder}/index.html", "summary": f"{folder}/summary.json"}


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_job(argv, classify)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
