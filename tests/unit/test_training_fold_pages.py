"""The pages of k-fold: what the models of folds said of images that they had not seen, on the page of each run."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.contract import images_table, splits_table
from darkroom.errors import DataError
from darkroom.tables import Table
from tests.packages import package_info
from tests.suites.training import World, world
from training import flow, tracking
from training.config import parse_config
from training.experiments.crossval_page import fold_page
from training.experiments.tested import tested_on

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture
OTHER = {"BRIGHT": "DARK", "DARK": "BRIGHT"}
FEW = "evaluate: kfold\nfolds: 3\nsharpness: 20"


def relabel(world: World, label_of: Any) -> pd.DataFrame:
    """Gives each image of the split the label that ``label_of`` says of its row; returns the rows."""
    table = Table(world.lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pandas()
    rows["label"] = [label_of(row) for row in rows.to_dict("records")]
    table.commit({"split_id": "s1"}, pa.Table.from_pandas(rows, table.spec.schema, preserve_index=False), {})
    return rows


def flip(world: World) -> set[str]:
    """Labels every twentieth image wrongly; returns the names of their files."""
    wrong: set[str] = set()

    def label_of(row: dict[str, Any]) -> str:
        number = int(Path(row["path"]).stem)
        if number % 20:
            return str(row["label"])
        wrong.add(Path(row["path"]).name)
        return OTHER[row["label"]]

    relabel(world, label_of)
    return wrong


def named_wrong(page: str) -> list[str]:
    """The files under "Misclassified", in the order of the page."""
    part = page.partition('id="misclassified"')[2].partition('<section class="card"')[0]
    return re.findall(r"<span>\w+ [\d.]+, is \w+\. ([\w.]+)</span>", part)


def pages_of_folds(run_id: str) -> dict[int, str]:
    """The page of each fold's run below the run of a config."""
    client = tracking.open_client()
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`{tracking.PARENT}` = '{run_id}'")
    return {int(run.data.tags["darkroom.fold"]): artifact(run.info.run_id, "evaluation.html") for run in runs}


def artifact(run_id: str, name: str) -> str:
    return Path(tracking.open_client().download_artifacts(run_id, name)).read_text()


def answers_of(world: World, result: dict[str, Any]) -> pd.DataFrame:
    return pq.read_table(io.BytesIO(world.lake.read(result["kfold"]["predictions"]))).to_pandas()


def it_shows_the_images_that_models_which_had_not_seen_them_got_wrong(world: World) -> None:
    wrong = flip(world)
    world.config("mean", FEW)
    result = world.train("mean")
    page = artifact(result["run_id"], "kfold.html")
    assert page == world.lake.read(result["page"]).decode()
    assert set(named_wrong(page)) == wrong
    assert "mean has 7 of 140 test images wrong" in page
    assert "by a model that had not seen it" in page
    assert "the one that is offered to the gate is another" in page
    for title in ("ROC on all folds, of DARK", "Precision and recall on all folds, of DARK", "true against predicted"):
        assert title in page
    assert "mean on all folds: how right where how sure" in page
    answers = answers_of(world, result)
    pages = pages_of_folds(result["run_id"])
    assert sorted(pages) == [1, 2, 3]
    for number, page in pages.items():
        mine = {Path(path).name for path in answers.loc[answers["fold"] == number, "path"]}
        assert f"mean, fold {number} of 3" in page
        assert set(named_wrong(page)) == wrong & mine
        assert page.partition('id="misclassified"')[2].count("data:image/") == len(wrong & mine)
        assert "Precision and recall on test, of DARK" in page
        assert "the one that is offered to the gate is another" in page


def it_shows_the_surest_of_all_folds_first_and_no_more_than_a_page_holds(world: World) -> None:
    relabel(world, lambda row: ("BRIGHT", "DARK")[int(Path(row["path"]).stem) // 2 % 2])  # nothing to learn
    world.config("mean", FEW)
    result = world.train("mean")
    answers = answers_of(world, result)
    answers = answers[answers["truth"] != answers["predicted"]]
    assert len(answers) > 24
    score = [
        dict(zip(("BRIGHT", "DARK"), row["probabilities"], strict=True))[row["predicted"]]
        for row in answers.to_dict("records")
    ]
    order = np.argsort(-np.array(score), kind="stable")[:24]
    assert named_wrong(artifact(result["run_id"], "kfold.html")) == [Path(answers["path"].iloc[k]).name for k in order]


def it_tells_slices_apart_also_where_one_has_a_single_class(world: World) -> None:
    images = Table(world.lake, images_table("lamps"))
    rows = images.read({"version": "v1"}).to_pandas()
    rows["width"] = rows["height"] = np.where(rows["label"] == "DARK", 100, 600).astype(np.int32)
    table = pa.Table.from_pandas(rows, images.spec.schema, preserve_index=False)
    images.commit({"version": "v1"}, table, {"version": "v1"})
    world.config("mean", FEW)
    page = artifact(world.train("mean")["run_id"], "kfold.html")
    told = re.findall(r"<tr><td>(\w+)</td><td>([\w ]+)</td>(.*?)</tr>", page)
    found = {(kind, value): re.findall(r">([^<]*)</td>", rest) for kind, value, rest in told}
    assert {kind for kind, _ in found} == {"size", "source"}
    assert found["size", "under 128 px"][-3:-1] == ["–", "70"]
    assert found["size", "512 px and more"][-3:-1] == ["–", "70"]
    assert found["source", "train"][-3:-1] == ["1", "60"]
    assert "mode: all images are alike (unknown)." in page


def it_shows_many_classes(world: World) -> None:
    relabel(world, lambda row: "AMBER" if int(Path(row["path"]).stem) % 4 == 0 else row["label"])
    world.config("mean", FEW)
    result = world.train("mean")
    page = artifact(result["run_id"], "kfold.html")
    assert "Precision and recall on all folds, mean of all classes" in page
    answers = answers_of(world, result)
    wrong = int((answers["truth"] != answers["predicted"]).sum())
    assert f"mean has {wrong} of 140 test images wrong" in page
    one = pages_of_folds(result["run_id"])[1]
    assert "Precision and recall on test, mean of all classes" in one
    assert "AMBER" in one


def it_logs_the_pages_of_folds_that_were_done_before(world: World) -> None:
    wrong = flip(world)
    world.config("mean", f"{FEW}\nbroken: [3]")
    with pytest.raises(DataError, match="on purpose"):
        world.train("mean")
    client = tracking.open_client()
    experiment = client.get_experiment_by_name("lamps").experiment_id
    first = {
        run.data.tags["darkroom.fold"]: artifact(run.info.run_id, "evaluation.html")
        for run in client.search_runs([experiment], "tags.`darkroom.fold` != ''")
        if run.info.status == "FINISHED"
    }
    assert sorted(first) == ["1", "2"]
    result = flow.train(world.lake, world.plan("mean")["configs"][0])
    pages = pages_of_folds(result["run_id"])
    assert sorted(pages) == [1, 2, 3]
    assert {number: pages[int(number)] for number in first} == first
    assert set(named_wrong(artifact(result["run_id"], "kfold.html"))) == wrong


def it_logs_every_metric_of_all_images_together_with_its_interval(world: World) -> None:
    flip(world)
    world.config("mean", FEW)
    result = world.train("mean")
    answers = answers_of(world, result)
    right = float((answers["truth"] == answers["predicted"]).mean())
    logged = tracking.open_client().get_run(result["run_id"]).data.metrics
    assert logged["kfold_pooled_accuracy"] == pytest.approx(right)
    for name in ("balanced_accuracy", "accuracy", "pr_auc", "roc_auc"):
        told = [logged[f"kfold_pooled_{name}{end}"] for end in ("_low", "", "_high")]
        assert told == sorted(told)
        assert result["kfold"]["pooled"][name] == pytest.approx([told[1], told[0], told[2]])


def it_says_what_cannot_be_measured_where_a_fold_lacks_a_class(world: World) -> None:
    rows = Table(world.lake, splits_table("lamps")).read({"split_id": "s1"}).to_pandas()
    dark = rows[rows["label"] == "DARK"].head(20)
    answers = pa.table(
        {
            "content_id": dark["content_id"].tolist(),
            "path": dark["path"].tolist(),
            "unit": list(range(20)),
            "truth": ["DARK"] * 20,
            "predicted": ["DARK"] * 20,
            "probabilities": [[0.1, 0.9]] * 20,
            "picture": pa.array([None] * 20, pa.binary()),
        }
    )
    tested = tested_on(world.lake, world.request, "test", answers, package_info(config="mean"))
    assert tested.mistakes == []
    config = parse_config({"name": "mean", "kind": "small_cnn", "evaluate": "kfold"})
    page = fold_page({"name": "mean", "dataset": "lamps", "split_id": "s1"}, config, 1, tested, {"seconds": 1.0})
    assert "Not defined on test: balanced_accuracy: no image of BRIGHT." in page
    assert "mean made no mistake on the 20 test images." in page
    assert "not every class occurs" in page
