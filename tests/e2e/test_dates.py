"""Dates in a real Airflow: a dry run by backfill, a date by hand, a late image reconciled, and a run done again."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from darkroom import champions
from darkroom.contract import predictions_table
from darkroom.inference import may_ask_for_retraining
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.e2e.conftest import ROOT, finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("demo")]

FIRST = "2026-01-01"  # a date of the demo, long before its champion
RECENT = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()


@pytest.fixture(scope="module")
def lake(running):
    return open_storage(running.local.lake)


@pytest.fixture(scope="module")
def before(client, lake):
    """Champions and trainings, as they were before any of these runs."""
    return champions.history(lake, "phantom"), trainings(client)


def trainings(client):
    return {run["dag_run_id"] for run in client.runs("train_model")}


def states(client, dag_id, run_id):
    return {task["task_id"]: task["state"] for task in client.tasks(dag_id, run_id)}


def events(client, run_id):
    """What a run told. Airflow answers with an error as long as a run that an event woke is queued."""
    for _ in range(60):
        try:
            return client.call("GET", "/assets/events", params={"source_run_id": run_id})["asset_events"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 500:
                raise
            time.sleep(1)  # until the woken run has started
    raise AssertionError(f"the events of {run_id} could not be listed")


def unchanged(client, lake, before):
    return (champions.history(lake, "phantom"), trainings(client)) == before


def it_tells_in_a_dry_run_what_a_backfill_would_do_and_wakes_nobody(running, client, lake, before):
    from infra.local.environment import service_environment

    client.wait_for_backfills("batch_inference")
    known = {run["dag_run_id"] for run in client.runs("batch_inference")}
    version = Table(lake, predictions_table("phantom")).version()
    command = ["airflow", "backfill", "create", "--dag-id", "batch_inference", "--from-date", FIRST, "--to-date", FIRST]
    command += ["--reprocess-behavior", "completed", "--dag-run-conf", json.dumps({"mode": "as_of", "dry_run": True})]
    environment = service_environment(running.local)
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (run_id,) = {run["dag_run_id"] for run in client.runs("batch_inference")} - known
    assert finished(client, "batch_inference", run_id)["state"] == "success"
    assert states(client, "batch_inference", run_id) == {
        "find_feeds": "success",
        "predict": "skipped",
        "summarise": "skipped",
    }
    task = next(task for task in client.tasks("batch_inference", run_id) if task["task_id"] == "find_feeds")
    log = "\n".join(client.log_tail("batch_inference", run_id, task))
    assert re.search(
        rf"Would skip {FIRST} of phantom: \d+ images, version 1 of phantom \(as_of\): nothing changed", log
    )
    assert f"phantom had no champion yet at the end of {FIRST}: its first is taken, version 1" in log
    path = f"/dags/batch_inference/dagRuns/{run_id}/taskInstances/find_feeds/links"
    page = client.call("GET", path)["extra_links"]["Open report"].removeprefix("/darkroom/")
    assert b"Nothing was written." in lake.read(page)
    assert events(client, run_id) == []
    assert Table(lake, predictions_table("phantom")).version() == version
    assert unchanged(client, lake, before)


def it_classifies_a_late_image_again_and_nothing_of_it_retrains(client, lake, before):
    images = [blob for blob in lake.list(f"inbox/phantom/dt={FIRST}") if not blob.path.endswith("_SUCCESS")][:4]
    data = [lake.read(blob.path) for blob in images]
    for number in range(3):
        lake.write(f"inbox/phantom/dt={RECENT}/{number}.png", data[number])
    by_hand = client.trigger("batch_inference", {"feeds": ["phantom"]}, partition_key=RECENT)
    assert finished(client, "batch_inference", by_hand)["state"] == "success"
    lake.write(f"inbox/phantom/dt={RECENT}/late.png", data[3])
    lake.delete(f"inbox/phantom/dt={RECENT}/0.png")

    reconciled = client.trigger("reconcile", {"days": 3, "feeds": ["phantom"]})
    assert finished(client, "reconcile", reconciled)["state"] == "success"
    rows = Table(lake, predictions_table("phantom")).read({"dt": RECENT})
    assert rows["path"].to_pylist() == ["1.png", "2.png", "late.png"]
    task = next(task for task in client.tasks("reconcile", reconciled) if task["task_id"] == "find_changes")
    log = "\n".join(client.log_tail("reconcile", reconciled, task))
    assert f"phantom on {RECENT} is changed: 1 late (late.png); 1 withdrawn (0.png)." in log

    client.call("POST", f"/dags/batch_inference/dagRuns/{by_hand}/clear", json={"dry_run": False, "only_failed": False})
    assert finished(client, "batch_inference", by_hand)["state"] == "success"
    told = events(client, by_hand) + events(client, reconciled)
    kinds = [(event["partition_key"], event["extra"]["run_type"], event["extra"].get("rerun")) for event in told]
    assert sorted(kinds, key=str) == sorted(
        [(RECENT, "manual", False), (RECENT, "manual", True), (RECENT, "reconcile", None)], key=str
    )
    assert not any(may_ask_for_retraining(event["extra"]) for event in told)

    woken = [run["dag_run_id"] for run in client.runs("monitor_drift") if run["partition_key"] == RECENT]
    assert woken
    for run_id in woken:
        assert finished(client, "monitor_drift", run_id)["state"] == "success"
        assert states(client, "monitor_drift", run_id)["ask_training"] == "skipped"

    nothing = client.trigger("reconcile", {"days": 3, "feeds": ["phantom"]})
    assert finished(client, "reconcile", nothing)["state"] == "success"
    assert states(client, "reconcile", nothing)["summarise_changes"] == "skipped"
    assert unchanged(client, lake, before)


def it_vacuums_dry_by_default(client, lake):
    run_id = client.trigger("vacuum", {"days": 1})
    assert finished(client, "vacuum", run_id)["state"] == "success"
    told = client.xcom("vacuum", run_id, "vacuum_lake")
    assert (told["dry_run"], client.xcom("vacuum", run_id, "vacuum_mlflow")) == (True, {"runs": 0, "dry_run": True})
    assert b"would be removed" in lake.read(told["page"])


def it_tells_of_a_date_that_is_late(running, client):
    """The run waits since its DAG is paused; its deadline, 12 hours away, is moved into the past."""
    client.call("PATCH", "/dags/batch_inference", json={"is_paused": True})
    run_id = client.trigger("batch_inference", {}, partition_key=FIRST)
    try:
        with closing(sqlite3.connect(running.local.airflow_home / "airflow.db", timeout=60)) as base, base:
            moved = base.execute(
                "UPDATE deadline SET deadline_time = '2026-01-01 00:00:00.000000' "
                "WHERE dagrun_id = (SELECT id FROM dag_run WHERE run_id = ?)",
                [run_id],
            )
            assert moved.rowcount == 1
        folder = running.local.logs / "tasks" / "executor_callbacks" / "batch_inference" / run_id
        said = f"ALERT: batch_inference for {FIRST} has not ended 12 hours after it was queued."
        deadline = time.monotonic() + 60
        while not any(said in log.read_text() for log in folder.glob("*")):
            assert time.monotonic() < deadline, [log.read_text() for log in folder.glob("*")]
            time.sleep(0.5)  # until the scheduler has seen the deadline and its callback has run
    finally:
        client.call("DELETE", f"/dags/batch_inference/dagRuns/{run_id}")
        client.call("PATCH", "/dags/batch_inference", json={"is_paused": False})
