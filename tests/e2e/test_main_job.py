"""The whole workflow in a real Airflow: what a newcomer sees, and what a bad request gets."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import duckdb
import httpx
import pytest

from darkroom.contract import champion_entry, drift_reports, predictions_table
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.e2e.conftest import ROOT, finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]


@pytest.fixture
def lake(running):
    return open_storage(running.local.lake)


def predictions(lake):
    return Table(lake, predictions_table("phantom"))


def outcomes(client, dag_id, run_id):
    return {(task["task_id"], task["map_index"]): task for task in client.tasks(dag_id, run_id)}


def it_ends_with_a_champion_and_three_dates(demo, lake):
    entry = json.loads(lake.read(champion_entry("phantom", 1)))
    assert entry["kind"] == "promoted"
    assert lake.stat(entry["package"]).size > 0
    rows = predictions(lake).read()
    assert set(DATES) <= set(rows["dt"].to_pylist())  # other tests may have classified more
    assert all(
        label in {"NORMAL", "PNEUMONIA"}
        for label, problem in zip(rows["label"].to_pylist(), rows["problem"].to_pylist(), strict=True)
        if not problem
    )
    assert "champion" in demo.lower()


def it_prints_the_last_screen_on_24_lines(demo):
    assert len(demo[demo.index("CHAMPION") :].splitlines()) <= 24


@pytest.mark.usefixtures("demo")
def it_looks_at_every_date_for_drift_and_trains_on_none(client, lake):
    client.wait_for_dags(["monitor_drift"])
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        runs = {run["partition_key"]: run for run in client.runs("monitor_drift")}
        if set(DATES) <= set(runs) and all(runs[dt]["state"] in {"success", "failed"} for dt in DATES):
            break
        time.sleep(1)  # between two looks at the runs
    assert {dt: runs[dt]["state"] for dt in DATES} == dict.fromkeys(DATES, "success")
    for dt in DATES:
        found = json.loads(lake.read(f"{drift_reports('phantom', 'phantom')}/{dt}.json"))
        rows = predictions(lake).read({"dt": dt, "feed": "phantom"})
        assert found["images"] + sum(found["left_out"].values()) == rows.num_rows > 0
        assert found["state"] in {"checked", "too few images"}
        tasks = client.tasks("monitor_drift", runs[dt]["dag_run_id"])
        assert {task["state"] for task in tasks if task["task_id"] == "ask_training"} == {"skipped"}
    assert "drift" not in {run["conf"].get("asked_by") for run in client.runs("train_model")}


def it_leaves_plain_parquet_that_duckdb_reads(demo, lake):
    files = predictions(lake).files()
    counted = duckdb.sql(f"select count(*) from read_parquet({files})").fetchall()[0][0]
    assert counted == predictions(lake).read().num_rows > 0


@pytest.mark.usefixtures("demo")
def it_changes_nothing_the_second_time(running, lake):
    before = predictions(lake).version()
    again = running.command("demo", PARAMS='{"images": 500}')
    assert again.returncode == 0, again.stdout + again.stderr
    lines = again.stdout.splitlines()
    for dag, task in [
        *(("prepare_dataset", task) for task in ("download", "manifest", "eda", "split", "validate", "preprocess")),
        ("train_model", "plan"),
        *((f"batch_inference {dt}", "predict") for dt in DATES),
    ]:
        done = [line for line in lines if line.startswith(dag) and f" {task} " in line and "✓" in line]
        assert done, (dag, task, again.stdout)
        assert all("nothing changed" in line for line in done), done
    assert predictions(lake).version() == before
    assert lake.stat(champion_entry("phantom", 2)) is None


@pytest.mark.usefixtures("demo")
def it_classifies_an_empty_date_with_zero_rows_through_the_backfill_command(running, client):
    from infra.local.environment import service_environment

    client.wait_for_backfills("batch_inference")
    command = ["airflow", "backfill", "create", "--dag-id", "batch_inference"]
    made = subprocess.run(
        [*command, "--from-date", "2026-02-01", "--to-date", "2026-02-02", "--dag-run-conf", '{"feeds": ["phantom"]}'],
        cwd=ROOT, env=service_environment(running.local), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    runs = [run for run in client.runs("batch_inference") if (run["partition_key"] or "").startswith("2026-02")]
    assert sorted(run["partition_key"] for run in runs) == ["2026-02-01", "2026-02-02"]
    for run in runs:
        assert finished(client, "batch_inference", run["dag_run_id"])["state"] == "success"
        assert client.xcom("batch_inference", run["dag_run_id"], "summarise")["images"] == 0


@pytest.mark.usefixtures("demo")
def it_takes_a_single_date_from_a_trigger(client):
    run_id = client.trigger("batch_inference", {}, partition_key="2026-01-02")
    assert finished(client, "batch_inference", run_id)["state"] == "success"
    assert client.xcom("batch_inference", run_id, "summarise")["changed"] is False


@pytest.mark.parametrize(
    ("dag_id", "conf", "task", "sentence"),
    [
        ("batch_inference", {}, "find_feeds", "no partition key"),
        ("prepare_dataset", {"train": 0.9, "source": "archive"}, "check_request", "add up to"),
        ("prepare_dataset", {"surprise": 1}, "check_request", "surprise"),
        (
            "prepare_dataset",
            {"dataset": "none", "source": "folder", "location": "/not/there"},
            "download",
            "/not/there",
        ),
        ("train_model", {"dataset": "never-prepared"}, "plan", "Run prepare_dataset"),
    ],
)
def it_answers_a_bad_request_with_one_sentence_and_no_retry(client, dag_id, conf, task, sentence):
    run_id = client.trigger(dag_id, conf)
    assert finished(client, dag_id, run_id)["state"] == "failed"
    failed = outcomes(client, dag_id, run_id)[(task, -1)]
    assert failed["state"] == "failed"
    assert failed["try_number"] == 1
    assert sentence in "\n".join(client.log_tail(dag_id, run_id, failed))


def it_refuses_a_form_field_of_the_wrong_type_before_a_run_exists(client):
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        client.trigger("prepare_dataset", {"images": "many"})


@pytest.mark.usefixtures("demo")
def it_shows_reports_only_behind_the_login(running, client, lake):
    pages = [blob.path for blob in lake.list("reports") if blob.path.endswith("/index.html")]
    assert len(pages) >= 6
    for page in pages:
        url = f"{running.local.airflow_url}/darkroom/{page}"
        refused = httpx.get(url, trust_env=False)
        assert refused.status_code == 401
        assert "<html" not in refused.text
        served = httpx.get(url, headers={"Authorization": client._http.headers["Authorization"]}, trust_env=False)
        assert served.status_code == 200
        assert served.content == lake.read(page)
        assert "allow-same-origin" not in served.headers["content-security-policy"]


@pytest.mark.usefixtures("demo")
def it_links_finished_tasks_to_their_reports(client):
    run_id = next(run["dag_run_id"] for run in client.runs("prepare_dataset") if run["state"] == "success")
    for task in ("eda", "split_eda", "validate"):
        links = client.call("GET", f"/dags/prepare_dataset/dagRuns/{run_id}/taskInstances/{task}/links")["extra_links"]
        assert links["Open report"].startswith("/darkroom/reports/")


@pytest.mark.usefixtures("demo")
def it_leaves_comparable_finished_runs_in_mlflow(running):
    code = (
        "import mlflow, json\n"
        f"mlflow.set_tracking_uri({running.local.mlflow_url!r})\n"
        "runs = mlflow.search_runs(experiment_names=['phantom'], output_format='list')\n"
        "keep = lambda run: [run.info.status, sorted(run.data.metrics), run.data.tags.get('mlflow.parentRunId')]\n"
        "print(json.dumps([keep(run) for run in runs]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    runs = json.loads(done.stdout.splitlines()[-1])
    children = [run for run in runs if run[2]]
    assert {status for status, _, _ in runs} == {"FINISHED"}
    assert len(children) == 2
    for _, metrics, _ in children:
        assert {"test_balanced_accuracy", "val_balanced_accuracy"} <= set(metrics)


def it_does_not_start_what_runs_on_other_settings(running):
    done = running.command("up", DARKROOM_TRAIN_SCHEDULE="0 3 * * 0")
    assert done.returncode == 1
    assert "were started with other values of DARKROOM_TRAIN_SCHEDULE." in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
