"""Every server of the stack dies once while a task needs it: the run ends well, with the rows of a quiet run."""

from __future__ import annotations

import time

import httpx
import pytest

from darkroom.contract import examples_table, images_table, splits_table
from darkroom.tables import Table
from infra.local.client import DONE, AirflowClient
from tests.stack.conftest import IMAGES
from tests.stack.test_stack import programs

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(1500)]

# (DAG, task that is running, seconds into it, program that is killed then)
KILLS = [
    ("prepare_dataset", "manifest", 20, "spark-worker"),
    ("prepare_dataset", "validate", 5, "postgres"),
    ("prepare_dataset", "preprocess", 25, "s3"),
    ("train_model", "train", 6, "mlflow"),
]
OF_A_DATASET = {"version", "split_id", "uri"}  # what names the dataset or the split itself


class Watch:
    """A DAG run, looked at through an Airflow that is away now and then."""

    def __init__(self, running, dag_id, run_id):
        self.client, self.dag_id, self.run_id = AirflowClient(running.stack), dag_id, run_id

    def look(self):
        """The run's state and its tasks; None while Airflow cannot tell."""
        try:
            return self.client.run(self.dag_id, self.run_id)["state"], self.client.tasks(self.dag_id, self.run_id)
        except httpx.HTTPError:
            return None

    def until(self, done, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.look()
            if seen and (found := done(*seen)):
                return found
            time.sleep(1)  # between two looks at the run
        raise AssertionError(f"{self.dag_id} {self.run_id}: nothing came of it in {seconds} s; seen last: {seen}")


def task_runs(task_id):
    return lambda state, tasks: any(one["task_id"] == task_id and one["state"] == "running" for one in tasks)


def kill_during(running, watch):
    """Kills each program that KILLS names for the DAG, while its task runs; the state the run ends in."""
    for dag_id, task_id, seconds, program in KILLS:
        if dag_id != watch.dag_id:
            continue
        watch.until(task_runs(task_id), 300)
        time.sleep(seconds)  # into the task's work
        assert task_runs(task_id)(*watch.look()), f"{task_id} ended before {program} was killed"
        programs(running.stack)[program].kill()
    return watch.until(lambda state, _: state if state in DONE else None, 600)


def it_ends_well_though_every_server_dies_once(running, demo, lake):
    assert "champion" in demo.lower()
    client = AirflowClient(running.stack)
    form = {"dataset": "shaken", "source": "phantom", "images": IMAGES}
    prepared = Watch(running, "prepare_dataset", client.trigger("prepare_dataset", form))
    assert kill_during(running, prepared) == "success"
    event = client.xcom("prepare_dataset", prepared.run_id, "publish")
    run_id = None
    deadline = time.monotonic() + 120
    while run_id is None and time.monotonic() < deadline:
        runs = client.runs("train_model")
        run_id = next((run["dag_run_id"] for run in runs if run["state"] not in DONE), None)
        time.sleep(1)  # until the scheduler has seen the event
    trained = Watch(running, "train_model", run_id)
    assert kill_during(running, trained) == "success"
    for spec in (images_table, splits_table, examples_table):
        quiet, shaken = Table(lake, spec("phantom")).read(), Table(lake, spec("shaken")).read()
        columns = [name for name in quiet.column_names if name not in OF_A_DATASET]
        assert quiet.num_rows > IMAGES / 2
        assert shaken.select(columns).equals(quiet.select(columns)), spec.__name__
    assert event["dataset"] == "shaken"
    champion = client.xcom("train_model", run_id, "gate")
    assert champion["verdict"] in {"promote", "refuse"}
