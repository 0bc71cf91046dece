"""Validation in Spark: Great Expectations over the tables of a lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from darkroom.contract import IMAGES_SCHEMA, images_table, splits_table
from darkroom.errors import InvalidRequest, ValidationFailed
from darkroom.splitting import SplitOptions, checked_options
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from spark_apps.jobs.validate import checked_request, existing_result, validate_split
from spark_apps.tables import read_table
from spark_apps.validate import build_frames
from tests.suites.manifests import random_manifest

pytestmark = pytest.mark.unit

Edit = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def quick(spark: SparkSession) -> Iterator[SparkSession]:
    """The settings of the job, for many small queries."""
    names = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "2"}
    before = {name: spark.conf.get(name) for name in names}
    for name, value in names.items():
        spark.conf.set(name, value)
    yield spark
    for name, value in before.items():
        spark.conf.set(name, str(value))


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, str]:
    """A lake whose path is ugly, with one dataset version and one split of it."""
    lake = open_storage(str(tmp_path_factory.mktemp("a lake [1] {x}")))
    Table(lake, images_table("d")).commit({"version": "12e456"}, random_manifest(400, 1, version="12e456"), {})
    made = split_dataset(lake, {"dataset": "d", "version": "12e456", "options": {"rebalance": "undersample"}})
    return lake, made["split_id"]


def asked(split_id: str, **limits: Any) -> Any:
    return checked_request({"dataset": "d", "version": "12e456", "split_id": split_id, "limits": limits})


def spoiled(lake: Storage, split_id: str, name: str, edit: Edit) -> str:
    """A split that is as the given one but for what ``edit`` did to its rows; its split_id."""
    splits = Table(lake, splits_table("d"))
    rows = edit(splits.read({"split_id": split_id}).drop(["split_id"]).to_pylist())
    metadata = splits.last_commit({"split_id": split_id}) or {}
    schema = pa.schema([field for field in splits.spec.schema if field.name != "split_id"])
    splits.commit({"split_id": name}, pa.Table.from_pylist(rows, schema=schema), {**metadata, "split_id": name})
    return name


def it_passes_a_good_split_and_leaves_a_page_and_numbers(quick: SparkSession, stocked: tuple[Storage, str]) -> None:
    lake, split_id = stocked
    request = asked(split_id)
    assert existing_result(lake, request) is None
    told = validate_split(quick, lake, request)
    assert told["success"]
    assert told["changed"]
    assert told["expectations"] >= 25
    assert b"Validation of d" in lake.read(told["page"])
    assert existing_result(lake, request) == {**told, "changed": False}
    assert existing_result(lake, asked(split_id, min_side=20)) is None
    recorded = json.loads(lake.read(told["page"].replace("index.html", "result.json")))
    assert recorded["failed"] == []
    raw = json.loads(lake.read(told["page"].replace("index.html", "gx.json")))
    assert len(raw) == told["expectations"]


def it_stops_where_limits_are_not_met_and_says_what_was_observed(
    quick: SparkSession, stocked: tuple[Storage, str]
) -> None:
    lake, split_id = stocked
    with pytest.raises(ValidationFailed) as caught:
        validate_split(quick, lake, asked(split_id, min_side=250, max_problem_share=0.0, labels=["NORMAL", "OTHER"]))
    page = caught.value.page
    assert page == f"reports/datasets/d/{split_id}/validation/index.html"
    assert page in caught.value.message
    recorded = json.loads(lake.read(page.replace("index.html", "result.json")))
    observed = {one["name"]: one["observed"] for one in recorded["verdicts"] if not one["met"]}
    assert observed["the classes in the split are those of the dataset"] == "also PNEUMONIA, no OTHER"
    assert observed["no image has too small a height"] == "200"
    assert set(observed) == {
        "the classes in the split are those of the dataset",
        "no image has too small a height",
        "few files have a problem",
    }
    assert (
        existing_result(lake, asked(split_id, min_side=250, max_problem_share=0.0, labels=["NORMAL", "OTHER"])) is None
    )


def it_finds_every_fault_of_a_spoiled_split(quick: SparkSession, stocked: tuple[Storage, str]) -> None:
    lake, split_id = stocked

    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        test = [row for row in rows if row["split"] == "test"]
        grouped = next(row for row in test if sum(row["group"] == one["group"] for one in test) > 1)
        grouped["split"] = "train"
        for row, place in zip([row for row in rows if row["split"] == "val"][:2], ("val", "test"), strict=True):
            row.update(split=place, duplicate_cluster="c")
        broken = next(row for row in rows if row["reason"] == "problem")
        broken.update(split="train", reason=None)
        test[-1]["weight"] = 2.0
        unexplained = next(row for row in rows if row["reason"] == "undersampled")
        unexplained["reason"] = None
        twice = dict(next(row for row in rows if row["split"] == "val" and row["label"]), split="train")
        gone = next(row for row in rows if row["reason"] == "no label")
        strange = dict(gone, content_id="f" * 64)
        wrong = next(row for row in rows if row["split"] == "val" and row["label"] == "NORMAL")
        wrong["label"] = "PNEUMONIA"
        return [row for row in rows if row is not gone] + [twice, strange]

    request = asked(spoiled(lake, split_id, "spoiled", edit))
    with pytest.raises(ValidationFailed) as caught:
        validate_split(quick, lake, request)
    recorded = json.loads(lake.read(str(caught.value.page).replace("index.html", "result.json")))
    assert {
        "no content is in two splits",
        "no group is in two splits",
        "no duplicate cluster is in two splits",
        "each content stands once in the split",
        "no image with a problem is in a split",
        "val and test are not reweighted",
        "what is out has a reason, and only that",
        "every content of the manifest is in the split table",
        "the split table has no content that the manifest lacks",
        "labels in the split are those of the manifest",
    } <= set(recorded["failed"])


def it_finds_classes_and_proportions_off(quick: SparkSession, stocked: tuple[Storage, str]) -> None:
    lake, split_id = stocked

    def edit(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            if row["split"] == "val" and row["label"] == "NORMAL":
                row["split"] = "test"
            if row["split"] == "train" and row["label"] == "PNEUMONIA":
                row["split"] = "test"
        return rows

    with pytest.raises(ValidationFailed) as caught:
        validate_split(quick, lake, asked(spoiled(lake, split_id, "lopsided", edit)))
    recorded = json.loads(lake.read(str(caught.value.page).replace("index.html", "result.json")))
    failed = {one["name"]: one for one in recorded["verdicts"] if not one["met"]}
    minimum = failed["each split has enough images of each class"]
    assert {(row["label"], row["split"]) for row in minimum["offending"]} == {("NORMAL", "val"), ("PNEUMONIA", "train")}
    share = next(one for name, one in failed.items() if "within chance" in name)
    assert ("all classes", "test") in {(row["label"], row["split"]) for row in share["offending"]}


def it_sees_columns_and_types_that_are_not_the_contracts(quick: SparkSession, stocked: tuple[Storage, str]) -> None:
    lake, split_id = stocked
    images = read_table(quick, Table(lake, images_table("d")), {"version": "12e456"}, as_stored=True)
    splits = read_table(quick, Table(lake, splits_table("d")), {"split_id": split_id}, as_stored=True)
    limits = asked(split_id).limits
    options: SplitOptions = checked_options({})
    columns = build_frames(images.withColumn("width", images["width"].cast("string")), splits, options, limits)[
        "columns"
    ]
    listed = {row["column_and_type"] for row in columns.collect()}
    assert "images.width string" in listed
    assert "images.height int" in listed
    assert "splits.weight double" in listed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split_id": "ffff"}, "has no split 'ffff'"),
        ({"version": "v9"}, "is one of version '12e456'|has no version 'v9'"),
    ],
)
def it_refuses_what_is_not_there(
    quick: SparkSession, stocked: tuple[Storage, str], changes: dict[str, str], sentence: str
) -> None:
    lake, split_id = stocked
    request = {"dataset": "d", "version": "12e456", "split_id": split_id, **changes}
    with pytest.raises(InvalidRequest, match=sentence):
        validate_split(quick, lake, checked_request(request))


def it_refuses_a_wrong_request() -> None:
    with pytest.raises(InvalidRequest, match=r"limits.min_side.*extra"):
        checked_request({"dataset": "d", "version": "v", "split_id": "s", "limits": {"min_side": 0}, "extra": 1})


def it_reads_tables_as_they_are_and_empty_ones_too(quick: SparkSession, stocked: tuple[Storage, str]) -> None:
    lake, _ = stocked
    table = Table(lake, images_table("d"))
    frame = read_table(quick, table, {"version": "12e456"})
    assert frame.columns == IMAGES_SCHEMA.names
    assert {row["version"] for row in frame.select("version").distinct().collect()} == {"12e456"}
    assert frame.count() == table.read({"version": "12e456"}).num_rows
    empty = read_table(quick, table, {"version": "none"})
    assert (empty.columns, empty.count()) == (IMAGES_SCHEMA.names, 0)
