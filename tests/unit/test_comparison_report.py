"""The comparison report of a training: pages, JSON, MLflow, and the champion, through real packages."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom import champions
from darkroom.metrics import METRIC_NAMES
from darkroom.model import load_package
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from tests.packages import TRANSFORM, write_dataset
from training import tracking
from training.classical.linear_graph import linear_graph
from training.comparing.evaluate import evaluate_configs
from training.config import TrainingConfig
from training.deciding.scoring import trained_on
from training.kinds import Fitted
from training.packaging import build_package

pytestmark = pytest.mark.unit

METRIC = "balanced_accuracy"


def noisy_graph(seed: int, signal: float) -> bytes:
    """A linear graph that sees brightness through noise: a larger signal is a better model."""
    features = int(np.prod(TRANSFORM.shape))
    noise = np.random.default_rng(seed).normal(size=features)
    weights = noise - noise.mean() + signal
    return linear_graph(np.stack([weights, -weights]), np.array([-0.5, 0.5]) * weights.sum(), TRANSFORM.shape)


def trained(lake: Storage, task: dict[str, Any], name: str, graph: bytes, **options: Any) -> dict[str, Any]:
    """What ``training.flow.train`` returns, of a graph made by hand."""
    client = tracking.open_client()
    tags = {tracking.PARENT: task["parent_run_id"], "darkroom.config": name}
    run_id = client.create_run(task["experiment_id"], run_name=name, tags=tags).info.run_id
    config = TrainingConfig(name=name, kind="by_hand", transform=TRANSFORM, **options)
    built = build_package(lake, task, config, Fitted(graph))
    tracking.log_step(client, run_id, 0, built.metrics("val_"))
    shown = {metric: built.val[metric] for metric in ("count", *METRIC_NAMES)}
    made = {"package": built.path, "package_id": built.package_id, "threshold": built.info.threshold}
    return {"config": name, "kind": "by_hand", "run_id": run_id, "val": shown, "seconds": 2.5, **made}


@pytest.fixture(scope="module")
def world(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A lake with lamps, three models of falling quality, a champion, and their evaluation."""
    folder = tmp_path_factory.mktemp("comparison")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, folder)}")
    get_settings.cache_clear()
    lake = open_storage(str(folder / "lake"))
    request = write_dataset(lake, "lamps", [TRANSFORM], train=60, other=120)
    client = tracking.open_client()
    experiment = tracking.open_experiment(client, "lamps")
    parent = client.create_run(experiment, run_name="parent").info.run_id
    common = {**request, "model": "lamps", "seed": 0, "experiment_id": experiment, "parent_run_id": parent}
    recall = {"aim": "recall", "of": "DARK", "at_least": 0.9}
    results = [
        trained(lake, common, "good", noisy_graph(0, 0.03)),
        trained(lake, common, "poor", noisy_graph(2, 0.004), calibration="none"),
        trained(lake, common, "careful", noisy_graph(1, 0.015), threshold=recall),
    ]
    champion = trained(lake, {**common, "seed": 7}, "earlier", noisy_graph(5, 0.01))
    entry = {name: champion[name] for name in ("package", "package_id", "run_id")}
    entry |= {"dataset": "lamps", "dataset_version": "v1", "split_id": "s1", "transform_hash": TRANSFORM.hash}
    champions.append(lake, "lamps", {**entry, "version": "4", "details": {}}, now=datetime(2026, 1, 1, tzinfo=UTC))
    plan = {**common, "primary_metric": METRIC, "links": {}, "changed": True, "mlflow_url": "", "gate_key": "k"}
    plan |= {"configs": [{"name": result["config"], "trained": None} for result in results]}
    evaluation = evaluate_configs(lake, plan, results)
    yield {"lake": lake, "plan": plan, "results": results, "evaluation": evaluation, "parent": parent}
    patch.undo()
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def report(world: dict[str, Any]) -> dict[str, Any]:
    """comparison.json."""
    folder = world["evaluation"]["comparison"].rpartition("/")[0]
    found: dict[str, Any] = json.loads(world["lake"].read(f"{folder}/comparison.json"), parse_constant=_no_constant)
    return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def it_says_which_config_won_everywhere(world: dict[str, Any], report: dict[str, Any]) -> None:
    told = report["sentence"]
    assert "good" in told
    assert re.search(r"The difference is real at 95 %|cannot be told apart", told)
    page = world["lake"].read(world["evaluation"]["comparison"]).decode()
    parent = tracking.open_client().get_run(world["parent"])
    assert told in page
    assert parent.data.tags["darkroom.comparison"] == told
    assert parent.data.tags["mlflow.note.content"].startswith(told)
    assert world["evaluation"]["sentence"] == told
    experiment = tracking.open_client().get_experiment(parent.info.experiment_id)
    view = json.loads(experiment.tags["mlflow.sharedViewState.darkroom"])
    logged = tracking.open_client().get_run(world["results"][0]["run_id"]).data.metrics
    shown = {name.split("`")[1] for name in view["selectedColumns"] if name.startswith("metrics.")}
    assert {f"val_{METRIC}", f"test_{METRIC}_low"} <= shown
    assert shown <= {*logged, f"val_{METRIC}"}  # which the fit logs
    assert "viewStateShareKey=darkroom" in parent.data.tags["mlflow.note.content"]
    json.dumps(world["evaluation"], allow_nan=False)
    assert len(json.dumps(world["evaluation"]["test"])) < 10_000  # goes through XCom


def it_keeps_a_json_of_a_known_shape(report: dict[str, Any]) -> None:
    assert (report["format"], report["format_version"]) == ("darkroom.comparison", 1)
    assert {one["config"] for one in report["configs"]} == {"good", "poor", "careful"}
    values = [one["test"]["metrics"][METRIC]["value"] for one in report["configs"]]
    assert values == sorted(values, reverse=True)
    for one in report["configs"]:
        for metric in METRIC_NAMES:
            found = one["test"]["metrics"][metric]
            assert found["low"] <= found["value"] <= found["high"]
        assert one["images_per_second"] > 0
        assert one["package_bytes"] > 0
        assert one["train_seconds"] == 2.5
        assert one["test"]["groups"] == 60
    assert any(one["on_pareto_front"] for one in report["configs"])
    metrics = {one["metric"]: one["method"] for one in report["differences"]}
    assert metrics["accuracy"] == "McNemar by group, exact"
    assert metrics["roc_auc"] == "DeLong by group (Obuchowski)"
    assert "groups (patients, say)" in " ".join(report["notes"])


def it_compares_with_the_champion(report: dict[str, Any]) -> None:
    champion = report["champion"]
    assert champion["champion"] == "the champion, version 4"
    assert (champion["images"], champion["left_out_as_trained_on"]) == (120, 0)
    assert {one["metric"] for one in champion["differences"]} >= {"roc_auc", "accuracy", METRIC}
    assert champion["sentence"]


def it_calibrates_and_chooses_for_the_stated_aim(world: dict[str, Any], report: dict[str, Any]) -> None:
    found = {one["config"]: one for one in report["configs"]}
    assert found["poor"]["temperature"] == 1.0
    assert "the config asks for none" in found["poor"]["notes"][0]
    good = found["good"]
    assert good["temperature"] != 1.0
    for part in ("val", "test"):
        assert good[part]["metrics"]["ece"]["value"] < good[part]["metrics"]["ece_before"]["value"]
    careful = found["careful"]
    assert careful["val"]["recall"]["DARK"] >= 0.9
    assert "the recall of DARK is at least 0.9" in careful["notes"][1]
    result = world["results"][0]
    model = load_package(world["lake"], result["package"])
    assert model.info.temperature == good["temperature"]
    assert model.info.threshold == good["threshold"]


def it_writes_pages_that_stand_alone(world: dict[str, Any]) -> None:
    folder = world["evaluation"]["comparison"].rpartition("/")[0]
    for name in ("index.html", "configs/good.html", "configs/poor.html"):
        page = world["lake"].read(f"{folder}/{name}").decode()
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
        assert "<script" not in page
        assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower().split()
        assert "Most confidently wrong" in page
        assert "Slices" in page
    assert "configs/good.html" in world["lake"].read(f"{folder}/index.html").decode()


def it_gives_every_run_in_mlflow_the_same_names(world: dict[str, Any]) -> None:
    client = tracking.open_client()
    runs = [client.get_run(result["run_id"]) for result in world["results"]]
    names = [set(run.data.metrics) for run in runs]
    assert names[0] == names[1] == names[2]
    wanted = {"test_roc_auc", "test_roc_auc_low", "test_roc_auc_high", "val_roc_auc_low", "test_ece", "test_ece_before"}
    assert wanted | {"images_per_second", "train_seconds", "package_megabytes", "temperature"} <= names[0]
    for run in runs:
        artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
        assert {"evaluation.html", "evaluation.json", "plots"} <= artifacts
        plots = {one.path for one in client.list_artifacts(run.info.run_id, "plots")}
        assert {f"plots/{name}_test.png" for name in ("roc", "pr", "confusion", "reliability")} <= plots
    parent = {one.path for one in client.list_artifacts(world["parent"])}
    assert {"comparison.html", "comparison.json"} <= parent


def it_names_the_data_of_every_run_without_a_copy(world: dict[str, Any]) -> None:
    client = tracking.open_client()
    seen = []
    for run_id in (world["parent"], *(result["run_id"] for result in world["results"])):
        inputs = client.get_run(run_id).inputs.dataset_inputs
        told = {one.tags[0].value: one.dataset for one in inputs}
        assert set(told) == {"train", "val", "test"}
        assert told["test"].name == "lamps/test"
        assert json.loads(told["test"].profile) == {"num_rows": 120, "BRIGHT": 60, "DARK": 60}
        assert json.loads(told["val"].source)["split_id"] == "s1"
        seen.append({part: dataset.digest for part, dataset in told.items()})
    assert all(one == seen[0] for one in seen)
    assert len(set(seen[0].values())) == 3


def it_finds_the_same_again(world: dict[str, Any], report: dict[str, Any]) -> None:
    again = evaluate_configs(world["lake"], world["plan"], world["results"])
    folder = again["comparison"].rpartition("/")[0]
    found = json.loads(world["lake"].read(f"{folder}/comparison.json"))
    for one in (*found["configs"], *report["configs"]):
        del one["images_per_second"], one["on_pareto_front"]
    assert found == report
    run = tracking.open_client().get_run(world["results"][0]["run_id"])
    assert len(run.inputs.dataset_inputs) == 3


def it_takes_what_was_installed_by_hand_for_a_model_that_saw_none_of_our_images(lake: Storage) -> None:
    assert trained_on(lake, "lamps", champions.BY_HAND) == frozenset()
