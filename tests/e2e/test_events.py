"""Datasets that are published together: none of them is forgotten."""

from __future__ import annotations

import time

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NAMES = ("together-one", "together-two")


@pytest.fixture
def runs(client):
    """What training did about two datasets whose events it found waiting: the runs, newest first.

    Nothing is behind the names, so that every run ends at its plan.
    """
    client.wait_for_dags(["train_model"])
    (asset,) = client.call("GET", "/assets", params={"name_pattern": "darkroom_datasets"})["assets"]
    before = {run["dag_run_id"] for run in client.runs("train_model")}
    client.call("PATCH", "/dags/train_model", json={"is_paused": True})
    for name in NAMES:
        extra = {"dataset": name, "split_id": "none", "configs": ["small_cnn"]}
        client.call("POST", "/assets/events", json={"asset_id": asset["id"], "extra": extra})
    client.call("PATCH", "/dags/train_model", json={"is_paused": False})
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = [run for run in client.runs("train_model") if run["dag_run_id"] not in before]
        if len(found) == len(NAMES) and all(run["state"] in {"success", "failed"} for run in found):
            return found
        time.sleep(1)  # between two looks at the runs
    raise AssertionError(f"{len(NAMES)} runs were expected; there are {[run['dag_run_id'] for run in found]}")


def it_trains_once_for_each_dataset_that_was_published(client, runs):
    later, first = runs
    assert (first["run_type"], later["run_type"]) == ("asset_triggered", "operator_triggered")
    for run, name in ((first, NAMES[1]), (later, NAMES[0])):
        (failed,) = [task for task in client.tasks("train_model", run["dag_run_id"]) if task["state"] == "failed"]
        assert failed["task_id"] == "plan"
        assert f"The dataset '{name}' has no split" in "\n".join(
            client.log_tail("train_model", run["dag_run_id"], failed)
        )
    states = [
        task["state"] for task in client.tasks("train_model", later["dag_run_id"]) if task["task_id"] == "close_runs"
    ]
    assert states == ["success"]
    states = {task["task_id"]: task["state"] for task in client.tasks("train_model", later["dag_run_id"])}
    assert (states["other_datasets"], states["train_others"]) == ("success", "skipped")
