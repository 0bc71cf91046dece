"""The chain from pixels to predictions after the demo: OpenLineage, Airflow's asset graph, the command, the cards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import pytest

from darkroom.storage import open_storage
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200), pytest.mark.usefixtures("demo")]

# They only decide what is done: nothing that is kept comes out of them.
DECIDES = {"check_request", "python_configs", "spark_configs", "other_datasets", "to_approve"}
DECIDES |= {"find_feeds", "find_partitions", "alert", "train_others"}


@pytest.fixture(scope="module")
def events(running, demo):
    """(DAG, task) -> event type -> inputs and outputs of all its events, as "namespace name"."""
    found = defaultdict(lambda: defaultdict(lambda: (set(), set())))
    for line in (running.local.home / "openlineage.jsonl").read_text().splitlines():
        event = json.loads(line)
        dag, _, task = event["job"]["name"].partition(".")
        if task:
            read, written = found[dag, task][event["eventType"]]
            read |= {f"{one['namespace']} {one['name']}" for one in event["inputs"]}
            written |= {f"{one['namespace']} {one['name']}" for one in event["outputs"]}
    return found


def it_tells_openlineage_what_every_task_read_and_wrote(client, events):
    ended = set()
    for dag in ("prepare_dataset", "train_model", "batch_inference", "monitor_drift"):
        for run in client.runs(dag):
            ended |= {
                (dag, task["task_id"]) for task in client.tasks(dag, run["dag_run_id"]) if task["state"] == "success"
            }
    assert len(ended) >= 20
    assert ended <= set(events)
    for dag, task in sorted(ended):
        assert {"START", "COMPLETE"} <= set(events[dag, task]), (dag, task)
        read, written = events[dag, task]["COMPLETE"]
        assert read or task == "close_runs", (dag, task)
        assert written or task in DECIDES, (dag, task)


def it_joins_the_tasks_by_the_tables_between_them(running, events):
    def written(dag, task):
        return events[dag, task]["COMPLETE"][1]

    def read(dag, task):
        return events[dag, task]["COMPLETE"][0]

    lake = running.local.lake
    for writer, reader in (
        (("prepare_dataset", "download"), ("prepare_dataset", "manifest")),
        (("prepare_dataset", "manifest"), ("prepare_dataset", "split")),
        (("prepare_dataset", "split"), ("prepare_dataset", "preprocess")),
        (("prepare_dataset", "preprocess"), ("train_model", "train")),
        (("train_model", "train"), ("train_model", "evaluate")),
        (("train_model", "gate"), ("train_model", "promote")),
        (("train_model", "promote"), ("batch_inference", "summarise")),
        (("batch_inference", "predict"), ("monitor_drift", "check")),
    ):
        assert written(*writer) & read(*reader), (writer, reader)
    assert f"file {lake}/champions/phantom/1.json" in written("train_model", "promote")
    day = "tables/predictions/phantom/dt=2026-01-01/feed=phantom/origin=batch"
    assert f"file {lake}/{day}" in written("batch_inference", "predict")
    started, _ = events["batch_inference", "predict"]["START"]
    assert f"file {lake}/inbox/phantom/dt=2026-01-01" in started


def it_shows_the_chain_in_airflows_graph_of_assets(client, running):
    listed = {one["name"]: one for one in client.call("GET", "/assets", params={"limit": 100})["assets"]}
    champion = listed["darkroom_models"]
    assert champion["scheduled_dags"] == []
    query = {"node_id": f"asset:{champion['id']}", "dependency_type": "data"}
    graph = client._http.get("/ui/dependencies", params=query).json()
    label = {node["id"]: node["label"] for node in graph["nodes"]}
    edges = {(label[edge["source_id"]], label[edge["target_id"]]) for edge in graph["edges"]}
    assert {
        ("prepare_dataset.publish", "darkroom_datasets"),
        ("darkroom_datasets", "train_model.promote"),
        ("train_model.promote", "darkroom_models"),
        ("rollback_champion.roll_back", "darkroom_models"),
        ("darkroom_models", "batch_inference.summarise"),
        ("batch_inference.summarise", "darkroom_predictions"),
        ("darkroom_predictions", "monitor_drift.check"),
    } <= edges


def it_wakes_nothing_with_a_new_champion(client):
    (asset,) = client.call("GET", "/assets", params={"name_pattern": "darkroom_models"})["assets"]
    told = client.call("GET", "/assets/events", params={"asset_id": asset["id"], "limit": 100})["asset_events"]
    first = next(event for event in told if event["extra"].get("model") == "phantom")
    assert first["source_task_id"] == "promote"
    assert (first["extra"]["version"], first["extra"]["entry"]) == ("1", 1)
    assert [event["created_dagruns"] for event in told] == [[]] * len(told)


def it_prints_the_chain_with_the_runs_that_wrote_it(client, running):
    command = [
        sys.executable,
        "-m",
        "darkroom.cli",
        "lineage",
        "predictions/phantom/dt=2026-01-02/feed=phantom",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--lake", running.local.lake], cwd=ROOT, capture_output=True, text=True, check=True,
        env=running.environment, timeout=120,
    )  # fmt: skip
    nodes = {node["kind"]: node for node in json.loads(done.stdout)["nodes"]}
    expected = {"dataset version": "prepare_dataset", "split": "prepare_dataset", "examples": "prepare_dataset"}
    expected |= {"run": "train_model", "gate verdict": "train_model", "predictions": "batch_inference"}
    for kind, dag in expected.items():
        assert f"/dags/{dag}/runs/" in nodes[kind]["links"]["Airflow run"], kind
    assert nodes["dataset version"]["facts"]["source"].startswith("The synthetic phantoms")
    assert nodes["model version"]["name"] == "phantom@1"
    assert "card/index.html" in nodes["model version"]["links"]["model card"]
    assert "card/index.html" in nodes["split"]["links"]["dataset card"]


def it_leaves_a_card_of_the_data_and_of_the_model(client, running):
    lake = open_storage(running.local.lake)
    cards = [blob.path for blob in lake.list("reports") if blob.path.endswith("/card/card.md")]
    texts = [lake.read(path).decode() for path in cards]
    data = next(text for text in texts if text.startswith("# Dataset phantom"))
    model = next(text for text in texts if text.startswith("# Model phantom, version 1\n"))
    for part in ("## Classes and splits", "## Duplicates and leaks", "expectations of Great Expectations, 0 not met"):
        assert part in data, part
    for part in ("# Model phantom, version 1", "## The gate: promote", "Expected calibration error on test", "licence"):
        assert part in model, part
    run = next(run for run in client.runs("prepare_dataset") if run["state"] == "success")
    path = f"/dags/prepare_dataset/dagRuns/{run['dag_run_id']}/taskInstances/publish/links"
    assert client.call("GET", path)["extra_links"]["Open report"].endswith("/card/index.html")
