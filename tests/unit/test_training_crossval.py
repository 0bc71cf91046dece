"""k-fold in a training: nested runs, estimates with intervals, predictions of unseen images, going on after a kill."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.contract import splits_table
from darkroom.errors import DataError, InvalidRequest
from darkroom.tables import Table
from tests.kinds import FITTED
from tests.suites.training import World, world
from training import flow, tracking
from training.config import parse_config
from training.data import read_split
from training.experiments.crossval import over_folds

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture


def runs_below(run_id: str) -> list[Any]:
    client = tracking.open_client()
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_runs([experiment], f"tags.`{tracking.PARENT}` = '{run_id}'"))


def it_estimates_with_a_run_a_fold(world: World) -> None:
    world.config("mean", "evaluate: kfold\nfolds: 4\nsharpness: 20")
    result = world.train("mean")
    assert len(FITTED) == 5  # four folds, and the model that is offered to the gate
    found = result["kfold"]
    assert (found["folds"], found["images"]) == (4, 140)
    accuracy = found["metrics"]["balanced_accuracy"]
    assert accuracy["low"] <= accuracy["mean"] <= accuracy["high"] <= 1
    runs = runs_below(result["run_id"])
    assert sorted(run.data.tags["darkroom.fold"] for run in runs) == ["1", "2", "3", "4"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert run.data.tags["darkroom.config"] == "mean"
        assert {"val_log_loss", "test_balanced_accuracy", "test_recall_DARK", "seconds"} <= set(run.data.metrics)
        client = tracking.open_client()
        assert [point.step for point in client.get_metric_history(run.info.run_id, "fit/val_loss")] == [1, 2, 3]
    logged = tracking.open_client().get_run(result["run_id"]).data.metrics
    assert logged["kfold_balanced_accuracy"] == pytest.approx(accuracy["mean"])
    assert logged["kfold_balanced_accuracy_low"] == pytest.approx(accuracy["low"])
    assert logged["kfold_pooled_balanced_accuracy_high"] <= 1


def it_keeps_what_was_said_of_images_that_were_not_seen(world: World) -> None:
    world.config("mean", "evaluate: kfold\nsharpness: 20")
    found = world.train("mean")["kfold"]
    table = pq.read_table(io.BytesIO(world.lake.read(found["predictions"]))).to_pandas()
    split = read_split(world.lake, "lamps", "s1").to_pandas().sort_values("content_id")
    assert table["content_id"].tolist() == split["content_id"].tolist()
    assert table["truth"].tolist() == split["label"].tolist()
    for job in FITTED[:5]:
        rows = job.split.to_pandas()
        seen = set(rows.loc[rows["split"] != "test", "content_id"])
        number = int(rows["split_id"].iloc[0].split("-")[1])
        assert seen.isdisjoint(table.loc[table["fold"] == number, "content_id"])
    assert np.stack(table["probabilities"].tolist()).sum(1) == pytest.approx(1)


def it_offers_the_gate_the_model_of_the_split(world: World) -> None:
    world.config("plain", "sharpness: 20")
    world.config("folded", "sharpness: 20\nevaluate: kfold")
    plain, folded = world.train("plain"), world.train("folded")
    assert folded["val"] == plain["val"]
    assert plain["kfold"] is None
    assert FITTED[-1].split.equals(read_split(world.lake, "lamps", "s1"))


def it_goes_on_where_it_was_killed(world: World) -> None:
    world.config("mean", "evaluate: kfold\nfolds: 4\nbroken: [3]")
    with pytest.raises(DataError, match="on purpose"):
        world.train("mean")
    plan = world.plan("mean")
    result = flow.train(world.lake, plan["configs"][0])
    assert len(FITTED) == 3 + 2 + 1  # the two folds that were left, and the model
    runs = runs_below(result["run_id"])
    assert sorted(run.data.tags["darkroom.fold"] for run in runs) == ["1", "2", "3", "4"]
    assert all("fit/val_loss" in run.data.metrics for run in runs)
    client = tracking.open_client()
    dead = [run for run in client.search_runs([result_experiment(result)]) if run.info.status == "FAILED"]
    assert {run.data.tags.get("darkroom.fold") for run in dead} == {None, "3"}


def result_experiment(result: dict[str, Any]) -> str:
    return str(tracking.open_client().get_run(result["run_id"]).info.experiment_id)


def it_fits_no_fold_again_for_another_number_of_runs_around_it(world: World) -> None:
    world.config("mean", "evaluate: kfold")
    world.train("mean")
    fits = len(FITTED)
    world.config("mean", "evaluate: kfold\nfolds: 3")
    world.train("mean")
    assert len(FITTED) == fits + 3 + 1
    world.config("mean", "evaluate: kfold")
    assert world.plan("mean")["configs"][0]["trained"]["kfold"]["folds"] == 5


def it_ends_the_folds_of_a_training_that_died(world: World) -> None:
    world.config("mean", "evaluate: kfold")
    plan = world.plan("mean")
    client = tracking.open_client()
    identity = {tracking.PARENT: plan["parent_run_id"], "darkroom.config": "mean"}
    dead = []
    for _ in range(2):  # killed twice, so that nobody ended what was running
        child = tracking.start_run(client, plan["experiment_id"], "mean", identity)
        dead += [child, tracking.start_run(client, plan["experiment_id"], "fold", {tracking.PARENT: child})]
    assert [client.get_run(one).info.status for one in dead] == ["FAILED", "FAILED", "RUNNING", "RUNNING"]
    result = flow.train(world.lake, plan["configs"][0])
    assert {client.get_run(one).info.status for one in dead} == {"FAILED"}
    assert client.get_run(result["run_id"]).data.tags["retry_of"] == dead[2]
    child = tracking.start_run(client, plan["experiment_id"], "late", {tracking.PARENT: plan["parent_run_id"]})
    fold = tracking.start_run(client, plan["experiment_id"], "late fold", {tracking.PARENT: child})
    flow.close_runs(plan["parent_run_id"])
    assert client.get_run(fold).info.status == "FAILED"


def it_refuses_more_folds_than_a_class_has_groups_before_any_work(world: World) -> None:
    world.config("mean", "evaluate: kfold\nsearch: {trials: 3, space: {sharpness: {low: 1, high: 9}}}")
    table = Table(world.lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pandas()
    rows["group"] = rows["group"].str.slice(0, 2)  # p0 to p6, p8 and p9 at most
    rows.loc[rows["label"] == "DARK", "group"] = "p1"
    table.commit({"split_id": "s1"}, pa.Table.from_pandas(rows, table.spec.schema, preserve_index=False), {})
    with pytest.raises(DataError, match=r"DARK: 1.*Use fewer folds"):
        world.plan("mean")
    assert FITTED == []


def it_widens_the_interval_for_what_folds_share() -> None:
    tests = [{"accuracy": value} for value in (0.8, 0.9, 0.85, 0.95, 0.9)]
    found = over_folds("accuracy", tests, 1 / 4)
    assert found is not None
    values = np.array([0.8, 0.9, 0.85, 0.95, 0.9])
    half = 2.7764451 * values.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert found["mean"] == pytest.approx(0.88)
    assert found["low"] == pytest.approx(0.88 - half, rel=1e-6)
    assert found["high"] == pytest.approx(min(1, 0.88 + half))
    assert over_folds("roc_auc", [{"roc_auc": 0.9}, {}], 1 / 4) is None
    loss = over_folds("log_loss", [{"log_loss": 0.1}, {"log_loss": 2.0}], 1)
    assert loss is not None
    assert loss["high"] > 1
    assert loss["low"] == 0


def it_shows_the_folds_on_the_page_of_the_config(world: World) -> None:
    world.config("mean", "evaluate: kfold\nsharpness: 20")
    plan = world.plan("mean")
    result = flow.train(world.lake, plan["configs"][0])
    evaluation = flow.evaluate(world.lake, {"plan": plan, "results": [result]})
    folder = evaluation["page"].rpartition("/")[0]
    page = world.lake.read(f"{folder}/configs/mean.html").decode()
    assert "Over folds" in page
    assert f"{result['kfold']['metrics']['balanced_accuracy']['mean']:.3f}" in page
    assert "fold 5" in page


def it_refuses_folds_for_a_learner_that_has_seen_them() -> None:
    resumed = {"name": "more", "kind": "incremental", "features": ["hog"], "resume": "states/lamps/1.npz"}
    assert parse_config(resumed).evaluate == "holdout"
    with pytest.raises(InvalidRequest, match="images that the state was trained on"):
        parse_config(resumed | {"evaluate": "kfold"})
