"""Accepted feedback in the next dataset version, in its split and at the gate; without any, nothing changes."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom import champions
from darkroom.contract import (
    OUT,
    RAW_INDEX_SCHEMA,
    REASON_LEAK,
    TEST,
    TRAIN,
    images_table,
    raw_blob,
    raw_index,
    splits_table,
)
from darkroom.feedback import Choice, Overlay, accept, add, apply, check, reject, stored
from darkroom.feedback.overlay import Applied
from darkroom.gate import decide
from darkroom.metrics import balanced_accuracy, confusion
from darkroom.model import load_package
from darkroom.settings import get_settings
from darkroom.sources.layout import LayoutOptions, describe_all
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from spark_apps.manifest import existing_result, make_manifest, plan_manifest
from spark_apps.preprocess import plan_preprocessing, preprocess
from tests.packages import png
from tests.suites.feedback import DATASET, DAY, NOW, classified
from training import config, flow
from training.scoring import challenger_scores

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.unit

LINEAR = """
engine: mllib
transform: {width: 16, height: 16}
regularization: [0.01]
"""
TRANSFORM = ImageTransform(width=16, height=16)
LAYOUT = {"groups": r"^(p\d+)_"}
OPTIONS = {"proportions": {"train": 0.4, "val": 0.2, "test": 0.4}, "seed": 1}


def picture(number: int) -> bytes:
    return png(90 if number % 2 else 165, number)


def label_of(number: int) -> str:
    return "DARK" if number % 2 else "BRIGHT"


def fetched(lake: Storage, numbers: range) -> str:
    """An index as a download leaves it: a folder a class, the patient in the file name."""
    rows = []
    for number in numbers:
        data = picture(number)
        content_id = hashlib.sha256(data).hexdigest()
        uri = raw_blob(DATASET, content_id)
        lake.create(uri, data)
        path = f"{label_of(number)}/p{number}_{number}.png"
        rows.append({"path": path, "content_id": content_id, "size_bytes": len(data), "uri": uri})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), sink)
    lake.write(raw_index(DATASET, "source"), sink.getvalue())
    return raw_index(DATASET, "source")


def prepare(lake: Storage, spark: SparkSession, index: str) -> dict[str, Any]:
    """Manifest, split and examples, as prepare_dataset makes them."""
    plan = plan_manifest(lake, {"dataset": DATASET, "raw_index": index, "layout": LAYOUT})
    made = existing_result(plan) or make_manifest(spark, plan)
    chosen = {"dataset": DATASET, "version": made["version"]}
    done = split_dataset(lake, {**chosen, "options": OPTIONS})
    chosen["split_id"] = done["split_id"]
    examples = plan_preprocessing(lake, {**chosen, "transforms": [TRANSFORM.model_dump(mode="json")]})
    if examples.uris:
        preprocess(spark, examples)
    return {"request": chosen, "manifest": made, "split": done}


def splits_of(lake: Storage, prepared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = Table(lake, splits_table(DATASET)).read({"split_id": prepared["request"]["split_id"]})
    return {row["content_id"]: row for row in rows.to_pylist()}


def train(lake: Storage, request: dict[str, Any], run: str) -> dict[str, Any]:
    from training.jobs.train_mllib import train as train_mllib

    plan = flow.plan(lake, {**request, "links": {"airflow_run": run}})
    results = [train_mllib(task) for task in plan["configs"] if not task["trained"]]
    evaluation = flow.evaluate(lake, {"plan": plan, "results": results})
    verdict = flow.decide(lake, evaluation)
    if verdict["verdict"] == "promote":
        flow.promote(lake, verdict)
    flow.close_runs(plan["parent_run_id"])
    return {"plan": plan, "evaluation": evaluation, "verdict": verdict}


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A dataset, its champion, then feedback on it: four test labels, and five images of an inbox."""
    folder = tmp_path_factory.mktemp("feedback")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("DARKROOM_LAKE", str(folder / "lake"))
    patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    get_settings.cache_clear()
    (folder / "configs").mkdir()
    (folder / "configs" / "linear.yaml").write_text(LINEAR)
    patch.setattr(config, "CONFIG_FOLDER", folder / "configs")
    lake = open_storage(str(folder / "lake"))
    index = fetched(lake, range(200))
    before = prepare(lake, spark, index)
    first = train(lake, before["request"], "http://airflow/1")
    parts = splits_of(lake, before)
    dark = sorted(key for key, row in parts.items() if row["split"] == TEST and row["label"] == "DARK")[:4]
    patients = {part: next(row["path"] for row in parts.values() if row["split"] == part) for part in (TRAIN, TEST)}
    of_train, of_test = (patients[part].split("/")[1].split("_")[0] for part in (TRAIN, TEST))
    names = ["p901_a.png", "p902_b.png", f"{of_train}_new.png", f"{of_test}_new.png", "p903_c.png"]
    new = classified(lake, [(name, picture(5000 + k), "DARK") for k, name in enumerate(names)])
    for image_id in dark:
        add(lake, DATASET, image_id, "BRIGHT", author="ada", at=NOW)
    for k, image_id in enumerate(new):
        add(lake, DATASET, image_id, label_of(5000 + k), author="ada", at=NOW)
    check(lake, DATASET, now=NOW)
    pending = prepare(lake, spark, index)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    for name in names:
        lake.delete(f"inbox/{DATASET}/dt={DAY}/{name}")
    after = prepare(lake, spark, index)
    second = train(lake, after["request"], "http://airflow/2")
    yield {
        "lake": lake, "index": index, "before": before, "pending": pending, "after": after, "first": first,
        "second": second, "dark": dark, "new": dict(zip(names, new, strict=True)),
        "of": {TRAIN: of_train, TEST: of_test},
    }  # fmt: skip
    patch.undo()
    get_settings.cache_clear()


def it_changes_no_version_before_it_is_accepted(world: dict[str, Any]) -> None:
    assert world["pending"]["request"] == world["before"]["request"]
    assert not world["pending"]["manifest"]["changed"]
    assert world["after"]["manifest"]["changed"]
    assert world["after"]["request"]["version"] != world["before"]["request"]["version"]


def it_joins_the_next_version_with_labels_and_bytes(world: dict[str, Any]) -> None:
    lake = world["lake"]
    version = {"version": world["after"]["request"]["version"]}
    rows = {row["content_id"]: row for row in Table(lake, images_table(DATASET)).read(version).to_pylist()}
    assert len(rows) == 205
    assert {rows[image_id]["label"] for image_id in world["dark"]} == {"BRIGHT"}
    for k, (name, image_id) in enumerate(world["new"].items()):
        row = rows[image_id]
        assert (row["label"], row["path"]) == (label_of(5000 + k), f".feedback/{DATASET}/{DAY}/{name}")
        assert (row["given_split"], row["group"], row["problem"]) == (None, name.split("_")[0], None)
        assert lake.read(row["uri"]) == picture(5000 + k)
    commit = Table(lake, images_table(DATASET)).last_commit(version)
    assert commit is not None
    assert commit["feedback"] == {"corrected": 4, "added": 5, "table_version": 1}


def it_moves_nobody_and_ties_no_train_to_test(world: dict[str, Any]) -> None:
    before, after = (splits_of(world["lake"], world[name]) for name in ("before", "after"))
    assert world["after"]["split"]["parent"] == world["before"]["request"]["split_id"]
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    for part, patient in world["of"].items():
        assert after[world["new"][f"{patient}_new.png"]]["split"] == part
    assert Counter(row["split"] for row in after.values())[OUT] == 0


def it_leaves_out_an_image_that_would_tie_train_to_test(world: dict[str, Any], spark: SparkSession) -> None:
    lake = world["lake"]
    parts = splits_of(lake, world["after"])
    tied = next(row for row in parts.values() if row["split"] == TEST and row["group"] != world["of"][TEST])
    data = lake.read(raw_blob(DATASET, tied["content_id"])) + b"\0"  # the same picture in another file
    (image_id,) = classified(lake, [(f"{world['of'][TRAIN]}_again.png", data, "DARK")], dt="2026-03-09")
    add(lake, DATASET, image_id, tied["label"], author="bob", at=NOW)
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    now = prepare(lake, spark, world["index"])
    row = splits_of(lake, now)[image_id]
    assert (row["split"], row["reason"]) == (OUT, REASON_LEAK)
    mine = next(one.row_id for one in stored(lake, DATASET) if one.image_id == image_id)
    reject(lake, DATASET, Choice((mine,)), "an experiment", by="eve", now=NOW)
    back = prepare(lake, spark, world["index"])
    assert back["request"]["version"] == world["after"]["request"]["version"]
    assert not back["manifest"]["changed"]


def it_scores_the_champion_on_the_corrected_labels(world: dict[str, Any]) -> None:
    lake = world["lake"]
    first, second = (world[name]["verdict"] for name in ("first", "second"))
    assert first["verdict"] == "promote", first["reasons"]
    assert world["second"]["plan"]["changed"]
    figures = second["figures"]
    assert figures["test_set"] != first["figures"]["test_set"]
    champion = champions.history(lake, DATASET)[0]
    model = load_package(lake, champion["package"])
    test = [row for row in splits_of(lake, world["after"]).values() if row["split"] == TEST]
    pixels = np.stack([model.transform.apply(lake.read(raw_blob(DATASET, row["content_id"]))) for row in test])
    said = model.labels(model.predict(pixels))[0]
    names = sorted(model.classes)
    truth = [row["label"] for row in test]
    matrix = confusion(*(np.array([names.index(one) for one in part]) for part in (truth, said)), len(names))
    assert figures["images"] == len(test)
    assert figures["champion_value"] == pytest.approx(float(balanced_accuracy(matrix[None])[0]))
    assert figures["champion_value"] < first["figures"]["value"] - 0.02  # what it said of four images is wrong now
    assert first["figures"]["value"] == pytest.approx(1.0)


def it_compares_nothing_across_different_test_sets(world: dict[str, Any]) -> None:
    old, new = (challenger_scores(world["lake"], world[name]["evaluation"]) for name in ("first", "second"))
    verdict = decide(new, old, ["BRIGHT", "DARK"])
    assert not verdict.promote
    assert "not the same ones" in verdict.reasons[0]
    assert verdict.figures == {}
    same = [key for key in old.content_ids if key in set(new.content_ids)]
    assert set(old.content_ids) == set(same)  # nobody left the test set
    assert json.dumps(world["second"]["verdict"]["figures"], allow_nan=False)


def overlay_on(index: pa.Table, overlay: Overlay) -> Applied:
    layout = LayoutOptions.model_validate(LAYOUT)
    return apply(index, describe_all(index["path"].to_pylist(), layout), overlay, DATASET, layout)


def it_says_nothing_changed_where_feedback_confirms_the_labels() -> None:
    rows = [{"path": f"a/p{k}_.png", "content_id": f"{k:064x}", "size_bytes": 1, "uri": f"u{k}"} for k in range(3)]
    index = pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA)
    known = rows[1]["content_id"]
    done = overlay_on(index, Overlay({known: "a"}, {known: (".feedback/x", 1)}, 7))
    assert done.index is index
    assert (done.corrected, done.added) == (0, 0)
    changed = overlay_on(index, Overlay({known: "b"}, {}, 8))
    assert changed.index == index
    assert [label for label, _, _ in changed.described] == ["a", "b", "a"]


def it_corrects_every_file_of_a_content() -> None:
    same = "0" * 64
    rows = [{"path": f"{name}/1.png", "content_id": same, "size_bytes": 1, "uri": "u"} for name in ("a", "b")]
    done = overlay_on(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), Overlay({same: "b"}, {}, 1))
    assert [label for label, _, _ in done.described] == ["b", "b"]
    assert done.corrected == 1
