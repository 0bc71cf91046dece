"""Datasets that are published together: none of them is forgotten."""

from __future__ import annotations

import time

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NAMES = ("together-one", "together-two", "together-three")


@pytest.fixture
def runs(client):
    """What training did about datasets whose events it found waiting: the runs, oldest first.

    The last event starts a run, which gets those that came while training was paused too. Nothing is behind the names,
    so that every run ends at its plan.
    """
    client.wait_for_dags(["train_model"])
    (asset,) = client.call("GET", "/assets", params={"name_pattern": "darkroom_datasets"})["assets"]
    before = {run["dag_run_id"] for run in client.runs("train_model")}
    client.call("PATCH", "/dags/train_model", json={"is_paused": True})
    for name in NAMES:
        if name == NAMES[-1]:
            client.call("PATCH", "/dags/train_model", json={"is_paused": False})
        extra = {"dataset": name, "split_id": "none", "configs": ["small_cnn"]}
        client.call("POST", "/assets/events", json={"asset_id": asset["id"], "extra": extra})
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = [run for run in client.runs("train_model") if run["dag_run_id"] not in before]
        if len(found) == len(NAMES) and all(run["state"] in {"success", "failed"} for run in found):
            return found[::-1]
        time.sleep(1)  # between two looks at the runs
    raise AssertionError(f"{len(NAMES)} runs were expected; there are {[run['dag_run_id'] for run in found]}")


def it_trains_once_for_each_dataset_that_was_published(client, runs):
    assert [run["run_type"] for run in runs] == ["asset_triggered", "operator_triggered", "operator_triggered"]
    told = []
    for run in runs:
        tasks = client.tasks("train_model", run["dag_run_id"])
        (failed,) = [task for task in tasks if task["state"] == "failed"]
        assert failed["task_id"] == "plan"
        log = "\n".join(client.log_tail("train_model", run["dag_run_id"], failed))
        told += [name for name in NAMES if f"The dataset '{name}' has no split" in log]
        assert {task["state"] for task in tasks if task["task_id"] == "close_runs"} == {"success"}
        others = {task["state"] for task in tasks if task["task_id"] == "train_others"}
        assert others == ({"success"} if run is runs[0] else {"skipped"})
    assert told[0] == NAMES[-1]
    assert sorted(told) == sorted(NAMES)  # the others start side by side, in any order
