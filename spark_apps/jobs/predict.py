"""The predict job: one feed and date of the inbox, to tables/predictions/<model> and a run summary beside it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from darkroom.errors import CommitConflict
from darkroom.outcome import run_job
from darkroom.prediction_page import show_standing, write_summary
from darkroom.storage import open_lake
from darkroom.tables import AddedFile
from spark_apps.arrivals import Prediction, commit_predictions, plan_prediction
from spark_apps.predict import predict_inbox
from spark_apps.session import spark_session

log = logging.getLogger(__name__)

TRIES = 5


def classify(request: dict[str, Any]) -> dict[str, Any]:
    """Classify what arrived; where nothing arrived or nothing changed, no Spark session is started.

    Where another run commits to the date first, this one goes on as if it had begun after it: it ends with the rows
    that are there when those are what it would write, else it replaces them. Raises CommitConflict when others were
    first TRIES times.
    """
    lake = open_lake()
    started = time.monotonic()
    plan = plan_prediction(lake, request)
    of = ""  # the fingerprint that files and summary belong to
    files: list[AddedFile] = []
    summary: dict[str, Any] = {}
    for number in range(1, TRIES + 1):
        told = {"left_out": plan.request.left_out, "incomplete": plan.request.incomplete, "mode": plan.request.mode}
        told |= {"note": plan.request.note, "told": plan.told}
        for sentence in plan.told:
            log.warning("%s on %s: %s", plan.request.feed, plan.request.dt, sentence)
        if plan.earlier is not None:
            log.info("The rows of an earlier run stay (%s), %s images.", plan.reasons[0], f"{plan.earlier['images']:,}")
            shown = write_summary(lake, plan.earlier)
            show_standing(plan.table, plan.request.partition, plan.earlier)
            return {**shown, **told, "changed": False}
        if of != plan.fingerprint:
            log.info("Classifies %s images (%s).", f"{len(plan.blobs):,}", ", ".join(plan.reasons))
            files, summary = _classified(plan, started)
            of = plan.fingerprint
        try:
            commit_predictions(plan, files, summary)
        except CommitConflict:
            if number == TRIES:
                raise
            log.warning("Another run wrote %s on %s at the same time.", plan.request.feed, plan.request.dt)
            plan = plan_prediction(lake, request)
        else:
            break
    shown = write_summary(lake, summary)
    show_standing(plan.table, plan.request.partition, summary)
    return {**shown, **told, "changed": True}


def _classified(plan: Prediction, started: float) -> tuple[list[AddedFile], dict[str, Any]]:
    """The files with the date's rows, which no version names yet, and their summary."""
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
    return files, summarise(plan, counts, seconds, time.monotonic() - started)


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
        "mode": request.mode,
        "note": request.note,
        "told": plan.told,
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


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_job(argv, classify)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
