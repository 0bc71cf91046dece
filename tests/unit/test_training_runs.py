"""MLflow's runs of trainings that died, on a real tracking store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from darkroom.settings import get_settings
from training import flow, tracking

pytestmark = pytest.mark.unit


@pytest.fixture
def client(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield tracking.open_client()
    get_settings.cache_clear()


def it_marks_a_dead_run_failed_and_names_it_in_the_new_one(client: MlflowClient) -> None:
    experiment = tracking.open_experiment(client, "lamps")
    parent = tracking.start_run(client, experiment, "parent", {"darkroom.airflow_run": "http://airflow/run/9"})
    identity = {tracking.PARENT: parent, "darkroom.config": "cnn"}
    dead = tracking.start_run(client, experiment, "cnn", identity)
    fresh = tracking.start_run(client, experiment, "cnn", identity)
    assert client.get_run(dead).info.status == "FAILED"
    assert client.get_run(fresh).data.tags["retry_of"] == dead
    flow.close_runs(parent)
    assert client.get_run(fresh).info.status == "FAILED"
    assert client.get_run(parent).info.status == "FAILED"
    second = tracking.start_run(client, experiment, "parent", {"darkroom.airflow_run": "http://airflow/run/9"})
    assert client.get_run(second).data.tags["retry_of"] == parent
    flow.close_runs(second)


def it_ends_the_children_of_a_run_that_is_done_again_as_a_whole(client: MlflowClient) -> None:
    experiment = tracking.open_experiment(client, "lamps")
    identity = {"darkroom.airflow_run": "http://airflow/run/10"}
    parent = tracking.start_run(client, experiment, "parent", identity)
    child = tracking.start_run(client, experiment, "cnn", {tracking.PARENT: parent, "darkroom.config": "cnn"})
    again = tracking.start_run(client, experiment, "parent", identity)
    assert [client.get_run(one).info.status for one in (parent, child, again)] == ["FAILED", "FAILED", "RUNNING"]
    flow.close_runs(again)


def it_keeps_the_metrics_of_classes_apart_whatever_their_names(client: MlflowClient) -> None:
    run_id = tracking.start_run(client, tracking.open_experiment(client, "lamps"), "cnn", {})
    told = {"recall_正常": 0.5, "recall_肺炎": 1.0, "recall_a(b": 0.25, "recall_a[b": 0.75, "recall_a b": 0.1}
    tracking.log_step(client, run_id, 0, told)
    assert sorted(client.get_run(run_id).data.metrics.values()) == sorted(told.values())
    assert client.get_run(run_id).data.metrics["recall_肺炎"] == 1.0
