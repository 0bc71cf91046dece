"""The features table: made in Spark from the examples, each row once, read back in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from darkroom.contract import FEATURES_SCHEMA, examples_table, features_table
from darkroom.errors import CommitConflict, DataError, InvalidRequest
from darkroom.features import FeatureSet, read_features
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from spark_apps.jobs.preprocess import make
from spark_apps.manifest import make_manifest, plan_manifest
from spark_apps.preprocess import plan_preprocessing, preprocess
from tests.suites.images import DATASET, encoded, odd_files, simple_split, store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.unit

SMALL = ImageTransform(width=24, height=20)
COLOUR = ImageTransform(width=16, height=16, color="rgb", resize="pad")
SHAPES = FeatureSet.model_validate(["hog", {"kind": "sift", "words": 4}])
COLOURS = FeatureSet.model_validate(["color_histogram"])


def files() -> dict[str, bytes]:
    """The odd dataset with a flat image."""
    from PIL import Image

    return odd_files() | {"train/dog/flat.png": encoded(Image.new("RGB", (50, 40), (90, 90, 90)), "PNG")}


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, dict[str, Any]]:
    """A lake with features of two transforms, and the request that made them."""
    from darkroom.storage import open_storage

    lake = open_storage(str(tmp_path_factory.mktemp("lake")))
    request = request_for(manifest(spark, lake))
    preprocess(spark, plan_preprocessing(lake, request), 3)
    return lake, request


def manifest(spark: SparkSession, lake: Storage, more: dict[str, bytes] | None = None, split_id: str = "s1") -> str:
    index = store(lake, files() | (more or {}), index=split_id)
    version: str = make_manifest(spark, plan_manifest(lake, {"dataset": DATASET, "raw_index": index, "layout": {}}))[
        "version"
    ]
    simple_split(lake, version, split_id)
    return version


def request_for(version: str, split_id: str = "s1", **changes: Any) -> dict[str, Any]:
    features = [
        {"transform": SMALL.model_dump(), "features": SHAPES.model_dump()},
        {"transform": COLOUR.model_dump(), "features": ["color_histogram"]},
    ]
    asked = {"transforms": [SMALL.model_dump()], "features": features}
    return {"dataset": DATASET, "version": version, "split_id": split_id, **asked, **changes}


def examples(lake: Storage, transform: ImageTransform) -> tuple[list[str], np.ndarray]:
    rows = Table(lake, examples_table(DATASET)).read({"transform_hash": transform.hash})
    pixels = [np.frombuffer(one, np.uint8).reshape(transform.shape) for one in rows["pixels"].to_pylist()]
    return rows["content_id"].to_pylist(), np.stack(pixels)


def rows_of(lake: Storage, transform: ImageTransform, number: int, features: FeatureSet) -> Any:
    partition = {"transform_hash": transform.hash, "feature_hash": features.features[number].hash}
    return Table(lake, features_table(DATASET)).read(partition)


def it_makes_the_features_of_every_example(prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = prepared
    for transform, features in ((SMALL, SHAPES), (COLOUR, COLOURS)):
        ids, pixels = examples(lake, transform)
        expected = features.extract(pixels)
        for number, column in enumerate(read_features(lake, DATASET, transform, features, ids)):
            assert len(column) == len(ids)
            assert all((a == b).all() for a, b in zip(column, expected[number], strict=True))
        table = rows_of(lake, transform, 0, features)
        assert table.schema == FEATURES_SCHEMA
        assert table["content_id"].to_pylist() == ids


def it_shares_the_work_among_the_tasks(prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = prepared
    table = Table(lake, features_table(DATASET))
    for transform, features in ((SMALL, SHAPES), (COLOUR, COLOURS)):
        partition = {"transform_hash": transform.hash, "feature_hash": features.features[0].hash}
        stored = [pq.ParquetFile(path).metadata.num_rows for path in table.files(partition)]
        assert sum(stored) == len(examples(lake, transform)[0])
        assert len(stored) == 2  # of three tasks over the examples of two transforms


def it_says_of_which_image_it_found_nothing(prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = prepared
    descriptors = rows_of(lake, SMALL, 1, SHAPES)
    reasons = [row for row in descriptors.to_pylist() if row["reason"]]
    assert len(reasons) == 1
    assert reasons[0]["values"] == b""
    assert "no keypoint" in reasons[0]["reason"]
    assert rows_of(lake, SMALL, 0, SHAPES)["reason"].null_count == descriptors.num_rows


def it_gives_rows_in_the_order_that_is_asked_for(prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = prepared
    ids, _ = examples(lake, SMALL)
    whole = read_features(lake, DATASET, SMALL, SHAPES, ids)
    some = [7, 2, 20]
    part = read_features(lake, DATASET, SMALL, SHAPES, [ids[one] for one in some])
    assert all((part[0][k] == whole[0][one]).all() for k, one in enumerate(some))
    assert all((part[1][k] == whole[1][one]).all() for k, one in enumerate(some))
    fitted = SHAPES.fit(whole)
    assert (fitted.encode(part) == fitted.apply(examples(lake, SMALL)[1])[some]).all()


def it_names_what_an_image_lacks(prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = prepared
    ids, _ = examples(lake, SMALL)
    with pytest.raises(DataError, match=r"1 of 2 images of odds lack the feature hog .*absent"):
        read_features(lake, DATASET, SMALL, SHAPES, [ids[0], "absent"])
    with pytest.raises(DataError, match="2 of 2 images of odds lack the feature lbp"):
        read_features(lake, DATASET, SMALL, FeatureSet.model_validate("lbp"), ids[:2])


def it_does_only_what_is_missing(
    spark: SparkSession, prepared: tuple[Storage, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, request = prepared
    table = Table(lake, features_table(DATASET))
    count, commits = rows_of(lake, SMALL, 0, SHAPES).num_rows, len(table.history())
    monkeypatch.setattr("spark_apps.jobs.preprocess.open_lake", lambda: lake)
    again = make(request)
    assert again["changed"] is False
    assert [(one["kind"], one["added"], one["existing"]) for one in again["feature_partitions"]] == [
        ("hog", 0, count),
        ("sift", 0, count),
        ("color_histogram", 0, count),
    ]
    assert len(table.history()) == commits
    more_words = [{"transform": SMALL.model_dump(), "features": [{"kind": "sift", "words": 6}]}]
    assert make(request | {"features": more_words})["changed"] is False


def it_adds_what_a_grown_dataset_brings_and_lets_one_of_two_racing_runs_win(
    spark: SparkSession, prepared: tuple[Storage, dict[str, Any]]
) -> None:
    lake, _ = prepared
    count = rows_of(lake, SMALL, 0, SHAPES).num_rows
    jpeg = files()["train/cat/turned.jpg"]
    version = manifest(spark, lake, {"train/dog/more.jpg": jpeg[:-2] + b"\0\xff\xd9"}, "s2")
    grown = request_for(version, "s2")
    slow = plan_preprocessing(lake, grown)
    added = preprocess(spark, plan_preprocessing(lake, grown))
    assert added["changed"] is True
    assert [(one["added"], one["existing"]) for one in added["feature_partitions"]] == [(1, count)] * 3
    assert rows_of(lake, SMALL, 0, SHAPES).num_rows == count + 1
    with pytest.raises(CommitConflict):
        preprocess(spark, slow)
    assert rows_of(lake, SMALL, 0, SHAPES).num_rows == count + 1


def it_gives_equal_rows_however_the_work_is_cut(spark: SparkSession, prepared: tuple[Storage, dict[str, Any]]) -> None:
    lake, request = prepared
    first = rows_of(lake, SMALL, 1, SHAPES)
    assert first.num_rows > 20
    partition = {"transform_hash": SMALL.hash, "feature_hash": SHAPES.features[1].hash}
    Table(lake, features_table(DATASET)).commit(partition, first.slice(0, 0), {})
    latest = request_for(request["version"]) | {"features": request["features"][:1]}
    preprocess(spark, plan_preprocessing(lake, latest), 1)
    second = rows_of(lake, SMALL, 1, SHAPES)
    kept = set(second["content_id"].to_pylist())
    assert second.to_pylist() == [row for row in first.to_pylist() if row["content_id"] in kept]
    assert second.num_rows >= first.num_rows - 1
    assert len(Table(lake, features_table(DATASET)).files(partition)) == 1


def it_refuses_before_any_work_what_cannot_be_computed(
    spark: SparkSession, prepared: tuple[Storage, dict[str, Any]]
) -> None:
    lake, request = prepared
    with pytest.raises(InvalidRequest, match="There is no feature 'hogs'"):
        plan_preprocessing(lake, request | {"features": [{"transform": SMALL.model_dump(), "features": ["hogs"]}]})
    tiny = {"transform": {"width": 3, "height": 3}, "features": ["lbp"]}
    with pytest.raises(InvalidRequest, match="lbp cannot be computed from images of 3 x 3 pixels"):
        plan_preprocessing(lake, request | {"features": [tiny]})
