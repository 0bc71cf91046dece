"""train_model without Airflow: both engines, MLflow, the gate, the champion, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom import champions
from darkroom.contract import raw_blob
from darkroom.errors import DataError, InvalidRequest, MachineryError
from darkroom.features import FeatureSet
from darkroom.model import load_package
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.transform import ImageTransform
from tests.packages import CLASSES, write_dataset, write_features
from training import config, flow, registry, tracking
from training.data import read_examples, read_split
from training.deciding.promotion import promote_challenger

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("laptop_spark")]

CNN = """
kind: small_cnn
transform: {width: 24, height: 24}
model: {filters: [8, 16], first_stride: 1}
epochs: 4
batch_size: 16
"""
LINEAR = """
kind: mllib_logistic_regression
transform: {width: 16, height: 16}
regularization: [0.01, 0.1]
max_iterations: 20
"""
HEAD = """
kind: svm
transform: {width: 24, height: 24}
features: [{kind: pixels, side: 4}]
"""
ELSEWHERE = """
import sys
sys.meta_path = [one for one in sys.meta_path if "editable" not in str(one)]
sys.path = [one for one in sys.path if "site-packages" in one or "lib/python" in one]
import mlflow, pandas
door = mlflow.pyfunc.load_model(sys.argv[1])
answer = door.predict(pandas.DataFrame({"image": [open(sys.argv[2], "rb").read()]}))
import darkroom
print(darkroom.__file__, answer["label"][0])
"""
TRANSFORMS = [ImageTransform(width=24, height=24), ImageTransform(width=16, height=16)]


@pytest.fixture(scope="module")
def world(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A lake with a dataset, an MLflow store in SQLite, two small configs, and one complete training."""
    folder = tmp_path_factory.mktemp("training")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("DARKROOM_LAKE", str(folder / "lake"))
    patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, folder)}")
    patch.setenv("DARKROOM_TRAIN_CONFIGS", '["cnn", "linear", "head"]')
    get_settings.cache_clear()
    (folder / "configs").mkdir()
    (folder / "configs" / "cnn.yaml").write_text(CNN)
    (folder / "configs" / "linear.yaml").write_text(LINEAR)
    (folder / "configs" / "head.yaml").write_text(HEAD)
    patch.setattr(config, "CONFIG_FOLDER", folder / "configs")
    lake = open_storage(str(folder / "lake"))
    request = write_dataset(lake, "lamps", TRANSFORMS)
    write_features(lake, "lamps", TRANSFORMS[0], FeatureSet.model_validate([{"kind": "pixels", "side": 4}]))
    yield {"lake": lake, "request": request, "folder": folder, **train_all(lake, request)}
    patch.undo()
    get_settings.cache_clear()


def train_all(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    plan = flow.plan(lake, {**request, "links": {"airflow_run": "http://airflow/run/1"}})
    results = []
    for task in plan["configs"]:
        if not task["trained"]:
            results.append(flow.train(lake, task))
    evaluation = flow.evaluate(lake, {"plan": plan, "results": results})
    verdict = flow.decide(lake, evaluation)
    promoted = flow.promote(lake, verdict) if verdict["verdict"] == "promote" else None
    flow.close_runs(plan["parent_run_id"])
    found = {"plan": plan, "results": results, "evaluation": evaluation, "verdict": verdict, "promoted": promoted}
    json.dumps(found, allow_nan=False)  # all of it goes through XCom
    return found


def it_trains_evaluates_gates_and_promotes(world: dict[str, Any]) -> None:
    assert {result["config"] for result in world["results"]} == {"cnn", "linear", "head"}
    assert [[one["kind"] for one in each["features"]] for each in world["plan"]["features"]] == [["pixels"]]
    assert world["evaluation"]["test"]["linear"]["balanced_accuracy"] > 0.95
    assert world["verdict"]["verdict"] == "promote", world["verdict"]["reasons"]
    champion = champions.current(world["lake"], "lamps")
    assert champion is not None
    assert champion.package == world["evaluation"]["challenger"]["package"]
    assert champion.version == world["promoted"]["version"] == "1"
    assert champion.transform_hash in {transform.hash for transform in TRANSFORMS}


def it_keeps_pages_and_predictions_beside_each_other(world: dict[str, Any]) -> None:
    lake = world["lake"]
    for page in (world["evaluation"]["page"], world["verdict"]["page"]):
        assert lake.read(page).startswith(b"<!doctype html>")
    folder = world["evaluation"]["page"].rpartition("/")[0]
    names = {blob.path.rpartition("/")[2] for blob in lake.list(folder)}
    tests = {f"test-{name}.parquet" for name in ("cnn", "linear", "head")}
    assert {"index.html", "gate.html", "summary.json"} | tests <= names
    (picture,) = world["verdict"]["pictures"].values()
    assert lake.read(picture).startswith(b"\x89PNG")


def it_judges_by_limits_that_were_measured(world: dict[str, Any]) -> None:
    figures = world["verdict"]["figures"]
    assert 0 < figures["time_for_an_image"] < 500
    assert 0 < figures["package"] < 10
    assert 0 <= figures["calibration_error"] < 0.25


def it_tells_mlflow_everything(world: dict[str, Any]) -> None:
    client = tracking.open_client()
    parent = client.get_run(world["plan"]["parent_run_id"])
    assert parent.info.status == "FINISHED"
    for result in world["results"]:
        run = client.get_run(result["run_id"])
        assert run.info.status == "FINISHED"
        tags, metrics = run.data.tags, run.data.metrics
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["darkroom.dataset_version"] == "v1"
        assert tags["darkroom.split_id"] == "s1"
        assert tags["darkroom.transform_hash"]
        assert tags["darkroom.airflow_run"] == "http://airflow/run/1"
        for part in ("val", "test"):
            for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "log_loss"):
                assert f"{part}_{name}" in metrics
            assert f"{part}_recall_DARK" in metrics
            assert f"{part}_precision_BRIGHT" in metrics
        plots = {file.path for file in client.list_artifacts(result["run_id"], "plots")}
        assert {"plots/confusion_test.png", "plots/roc_test.png", "plots/roc_val.png"} <= plots
    cnn = next(result for result in world["results"] if result["config"] == "cnn")
    assert [point.step for point in client.get_metric_history(cnn["run_id"], "fit/val_loss")] == [1, 2, 3, 4]
    told = client.get_run(cnn["run_id"]).data.metrics
    assert told["val_balanced_accuracy"] == cnn["val"]["balanced_accuracy"]  # not an epoch's
    assert client.get_run(cnn["run_id"]).data.params["model.filters"] == "[8, 16]"


def it_registers_the_challenger_with_its_verdict(world: dict[str, Any]) -> None:
    client = tracking.open_client()
    version = client.get_model_version("lamps", "1")
    assert version.tags["darkroom.verdict"] == "promote"
    assert "above chance" in version.tags["darkroom.reasons"]
    assert str(client.get_model_version_by_alias("lamps", "champion").version) == "1"


def it_brings_its_own_code_to_another_environment(world: dict[str, Any], tmp_path: Path) -> None:
    result = world["results"][-1]
    place = Path(tracking.open_client().get_logged_model(result["model_id"]).artifact_location)
    assert len([path for path in place.rglob("*") if path.is_file()]) < 12  # each is an upload of its own
    image = next(iter(world["lake"].list("raw/lamps"))).path
    command = [sys.executable, "-c", ELSEWHERE, str(place), str(world["lake"].uri(image))]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=True)
    code, label = done.stdout.splitlines()[-1].split()
    assert "darkroom.zip" in code
    assert label in CLASSES


def it_does_nothing_a_second_time(world: dict[str, Any]) -> None:
    lake, client = world["lake"], tracking.open_client()
    experiment = client.get_experiment_by_name("lamps").experiment_id
    runs = len(client.search_runs([experiment]))
    again = train_all(lake, world["request"])
    assert again["plan"]["changed"] is False
    assert again["results"] == []
    assert again["evaluation"]["changed"] is again["verdict"]["changed"] is again["promoted"]["changed"] is False
    assert again["evaluation"]["challenger"] == world["evaluation"]["challenger"]
    assert len(client.search_runs([experiment])) == runs
    assert len(champions.history(lake, "lamps")) == 1


def it_trains_again_with_another_seed_and_compares_with_the_champion(world: dict[str, Any]) -> None:
    lake = world["lake"]
    again = train_all(lake, {**world["request"], "seed": 7, "configs": ["cnn"]})
    assert again["plan"]["changed"]
    assert again["verdict"]["champion_package_id"] == world["promoted"]["package"].rpartition("/")[2][:-4]
    assert any("Against" in reason for reason in again["verdict"]["reasons"])
    if again["promoted"]:
        with pytest.raises(InvalidRequest, match="changed since"):
            promote_challenger(lake, {**world["verdict"], "champion_package_id": None}, champions_now())


@pytest.mark.usefixtures("spark")  # which goes on where another training would start one anew
def it_does_not_bring_a_withdrawn_champion_back(world: dict[str, Any]) -> None:
    lake, request = world["lake"], {**world["request"], "model": "recalled", "configs": ["linear"]}
    first = train_all(lake, request)
    assert first["promoted"]["entry"] == 1
    champions.withdraw(lake, "recalled", 1, "trained on leaked images.", now=champions_now())
    second = train_all(lake, request)
    assert second["results"] == []
    assert second["verdict"]["verdict"] == "refuse"
    (reason,) = second["verdict"]["reasons"]
    assert "entry 1" in reason
    assert reason.endswith("trained on leaked images.")
    third = train_all(lake, request)
    assert third["plan"]["changed"] is third["verdict"]["changed"] is False
    assert third["verdict"]["reasons"] == [reason]
    with pytest.raises(InvalidRequest, match="cannot be promoted again"):
        promote_challenger(lake, first["verdict"], champions_now())
    assert champions.current(lake, "recalled") is None
    assert len(champions.history(lake, "recalled")) == 2


def it_says_what_stands_when_mlflow_fails_halfway_and_finishes_on_a_retry(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, client, challenger = world["lake"], tracking.open_client(), world["evaluation"]["challenger"]
    version = registry.register(client, "halfway", challenger["run_id"], challenger["model_id"], {})
    verdict = {**world["verdict"], "model": "halfway", "version": str(version.version), "champion_package_id": None}
    with monkeypatch.context() as patch:
        patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing answers there
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        get_settings.cache_clear()
        with pytest.raises(MachineryError, match=r"entry 1 of .* stands; the alias follows on the next try") as caught:
            promote_challenger(lake, verdict, champions_now())
        assert "nothing was promoted" not in caught.value.message
    get_settings.cache_clear()
    tracking.open_client()
    assert promote_challenger(lake, verdict, champions_now())["entry"] == 1
    assert len(champions.history(lake, "halfway")) == 1
    assert str(client.get_model_version_by_alias("halfway", "champion").version) == str(version.version)
    assert client.get_model_version("halfway", str(version.version)).tags["darkroom.champion_entry"] == "1"


def it_promotes_where_mlflow_has_lost_the_version(world: dict[str, Any]) -> None:
    verdict = {**world["verdict"], "model": "unknown-to-mlflow", "champion_package_id": None}
    assert promote_challenger(world["lake"], verdict, champions_now())["entry"] == 1


def it_hands_the_gate_the_classes_of_the_package(world: dict[str, Any]) -> None:
    import io

    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from training.comparing.evaluate import predictions_path

    lake, plan, challenger = world["lake"], world["plan"], world["evaluation"]["challenger"]
    there = predictions_path(f"reports/training/lamps/{plan['parent_run_id']}", challenger["config"])
    table = pq.read_table(io.BytesIO(lake.read(there)))
    bright = table.filter((pc.field("truth") == "BRIGHT") & (pc.field("predicted") == "BRIGHT"))
    out = io.BytesIO()
    pq.write_table(bright, out)
    folder = f"reports/training/one-class/{plan['parent_run_id']}"
    lake.write(predictions_path(folder, challenger["config"]), out.getvalue())
    verdict = flow.decide(lake, {**world["evaluation"], "plan": {**plan, "model": "one-class", "changed": True}})
    assert verdict["verdict"] == "refuse"
    assert any("Only 0 images of DARK" in reason for reason in verdict["reasons"])


def champions_now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def it_scores_a_champion_whose_examples_are_not_there_from_the_bytes(world: dict[str, Any]) -> None:
    from training.deciding.scoring import predict_same

    lake, plan = world["lake"], world["plan"]
    result = next(result for result in world["results"] if result["config"] == "linear")
    model = load_package(lake, result["package"])
    split = read_split(lake, "lamps", "s1")
    examples = read_examples(lake, "lamps", split, "test", model.transform)
    reversed_ids = list(reversed(examples.content_ids))
    found = predict_same(lake, plan, model, reversed_ids)
    np.testing.assert_allclose(found[::-1], model.predict(examples.pixels), atol=1e-6)
    gone = reversed_ids[0]
    data = lake.read(raw_blob("lamps", gone))
    lake.delete(raw_blob("lamps", gone))
    with pytest.raises(DataError, match="is gone since the dataset was downloaded"):
        predict_same(lake, plan, model, reversed_ids)
    lake.write(raw_blob("lamps", gone), data)


def it_repairs_the_alias_from_the_history(world: dict[str, Any]) -> None:
    client = tracking.open_client()
    client.delete_registered_model_alias("lamps", "champion")
    champion = champions.current(world["lake"], "lamps")
    assert champion is not None
    assert registry.repair_alias(world["lake"], "lamps") == champion.version
    assert str(client.get_model_version_by_alias("lamps", "champion").version) == champion.version


def it_links_a_training_of_before_from_the_run_that_compares_it(world: dict[str, Any]) -> None:
    lake, client = world["lake"], tracking.open_client()
    (world["folder"] / "configs" / "narrow.yaml").write_text(f"{HEAD}cost: [1.0]\n")
    before = {result["config"]: result["run_id"] for result in world["results"]}
    again = train_all(lake, {**world["request"], "configs": ["cnn", "narrow"]})
    note = client.get_run(again["plan"]["parent_run_id"]).data.tags["mlflow.note.content"]
    assert "Trained before, and not below this run: [cnn](#/experiments/" in note
    assert f"/runs/{before['cnn']})" in note
    assert "[narrow]" not in note
