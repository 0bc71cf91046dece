"""The preprocess job: the examples of a split, each once, equal however the work is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.contract import (
    EXAMPLES_SCHEMA,
    OUT,
    REASON_LEAK,
    REASON_SURPLUS,
    REASON_UNDERSAMPLED,
    SPLITS_SCHEMA,
    examples_table,
    images_table,
    splits_table,
)
from darkroom.errors import CommitConflict, DataError, InvalidRequest
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from spark_apps import rowfile
from spark_apps.images import partition_count
from spark_apps.manifest import make_manifest, plan_manifest
from spark_apps.preprocess import plan_preprocessing, preprocess
from tests.suites.images import DATASET, odd_files, simple_split, store

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.unit

SMALL = ImageTransform(width=24, height=20)
COLOUR = ImageTransform(width=16, height=16, color="rgb", resize="pad")


@pytest.fixture
def version(spark: SparkSession, lake: Storage) -> str:
    """A manifest and the split s1 in the lake."""
    plan = plan_manifest(lake, {"dataset": DATASET, "raw_index": store(lake, odd_files()), "layout": {}})
    made: str = make_manifest(spark, plan)["version"]
    simple_split(lake, made)
    return made


def request_for(version: str, *transforms: ImageTransform, split_id: str = "s1") -> dict[str, Any]:
    dumped = [one.model_dump() for one in transforms]
    return {"dataset": DATASET, "version": version, "split_id": split_id, "transforms": dumped}


def run(spark: SparkSession, lake: Storage, request: dict[str, Any], partitions: int | None = None) -> dict[str, Any]:
    return preprocess(spark, plan_preprocessing(lake, request), partitions)


def examples(lake: Storage, transform: ImageTransform) -> Any:
    return Table(lake, examples_table(DATASET)).read({"transform_hash": transform.hash})


def it_makes_the_examples_of_a_split_and_nothing_else(spark: SparkSession, lake: Storage, version: str) -> None:
    wanted = simple_split(lake, version)
    result = run(spark, lake, request_for(version, SMALL, COLOUR))
    assert result["changed"] is True
    assert result["transforms"] == [
        {"transform_hash": one.hash, "added": len(wanted), "existing": 0} for one in (SMALL, COLOUR)
    ]
    uris = {}
    for row in Table(lake, images_table(DATASET)).read({"version": version}).to_pylist():
        uris[row["content_id"]] = row["uri"]
    for transform in (SMALL, COLOUR):
        table = examples(lake, transform)
        assert table.schema == EXAMPLES_SCHEMA
        assert table["content_id"].to_pylist() == wanted
        for row in table.to_pylist():
            pixels = np.frombuffer(row["pixels"], np.uint8).reshape(row["height"], row["width"], row["channels"])
            assert (pixels == transform.apply(lake.read(uris[row["content_id"]]))).all()


def it_makes_what_a_training_may_take_back_too(spark: SparkSession, lake: Storage, version: str) -> None:
    wanted = simple_split(lake, version)
    table = Table(lake, splits_table(DATASET))
    rows = table.read({"split_id": "s1"}).to_pylist()
    reasons = {wanted[0]: REASON_UNDERSAMPLED, wanted[1]: REASON_LEAK, wanted[2]: REASON_SURPLUS}
    for row in rows:
        if row["content_id"] in reasons:
            row |= {"split": OUT, "reason": reasons[row["content_id"]]}
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(rows, schema=SPLITS_SCHEMA), {})
    run(spark, lake, request_for(version, SMALL))
    assert set(examples(lake, SMALL)["content_id"].to_pylist()) == set(wanted) - {wanted[2]}


def it_does_only_what_is_missing(spark: SparkSession, lake: Storage, version: str) -> None:
    run(spark, lake, request_for(version, SMALL))
    count = examples(lake, SMALL).num_rows
    commits = len(Table(lake, examples_table(DATASET)).history())
    again = run(spark, lake, request_for(version, SMALL))
    assert again == {
        "transforms": [{"transform_hash": SMALL.hash, "added": 0, "existing": count}],
        "feature_partitions": [],
        "changed": False,
    }
    assert len(Table(lake, examples_table(DATASET)).history()) == commits
    both = run(spark, lake, request_for(version, SMALL, COLOUR, COLOUR))
    assert [row["added"] for row in both["transforms"]] == [0, count]
    assert examples(lake, SMALL).num_rows == count


def it_adds_the_images_that_a_grown_dataset_brings(spark: SparkSession, lake: Storage, version: str) -> None:
    run(spark, lake, request_for(version, SMALL))
    count = examples(lake, SMALL).num_rows
    files = odd_files()
    more = files | {"train/dog/more.jpg": files["train/cat/turned.jpg"][:-2] + b"\0\xff\xd9"}
    plan = plan_manifest(lake, {"dataset": DATASET, "raw_index": store(lake, more, index="more"), "layout": {}})
    grown = make_manifest(spark, plan)["version"]
    simple_split(lake, grown, "s2")
    result = run(spark, lake, request_for(grown, SMALL, split_id="s2"))
    assert result["transforms"] == [{"transform_hash": SMALL.hash, "added": 1, "existing": count}]
    assert examples(lake, SMALL).num_rows == count + 1


def it_gives_equal_rows_whatever_the_partitions_and_file_sizes(
    spark: SparkSession, lake: Storage, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(spark, lake, request_for(version, SMALL), 1)
    first = examples(lake, SMALL)
    table = Table(lake, examples_table(DATASET))
    partition = {"transform_hash": SMALL.hash}
    for partitions in (4, 3):
        table.commit(partition, first.slice(0, 0), {})
        run(spark, lake, request_for(version, SMALL), partitions)
        assert examples(lake, SMALL).equals(first)
        assert len(table.files(partition)) == partitions


def it_fills_files_and_row_groups_up_to_their_limits(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowfile, "FILE_ROWS", 10)
    monkeypatch.setattr(rowfile, "GROUP_ROWS", 4)
    assert row_groups(lake, 6) == [4, 4, 2]


def it_fills_them_up_to_their_bytes(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowfile, "FILE_BYTES", 60)
    monkeypatch.setattr(rowfile, "GROUP_BYTES", 20)
    assert row_groups(lake, 6) == [3, 3, 3, 1]
    assert row_groups(lake, 200) == [1]


def row_groups(lake: Storage, size: int) -> list[int]:
    """The rows of each row group of a full file of examples of ``size`` bytes."""
    file = rowfile.RowFile(Table(lake, examples_table(DATASET)), {"transform_hash": "a"}, binary="pixels")
    number = 0
    while not file.full:
        row = {"content_id": f"{number:064x}", "pixels": bytes([number] * size), "height": 1, "width": size}
        file.add(row | {"channels": 1})
        number += 1
    written = file.close()
    assert number == written["rows"]
    stored = pq.ParquetFile(lake.open(f"{examples_table(DATASET).path}/{written['path']}"))
    return [stored.metadata.row_group(group).num_rows for group in range(stored.num_row_groups)]


def it_names_an_image_that_no_longer_decodes(spark: SparkSession, lake: Storage, version: str) -> None:
    rows = Table(lake, images_table(DATASET)).read({"version": version}).to_pylist()
    victim = next(row for row in rows if row["path"] == "train/dog/03.jpg")
    lake.write(victim["uri"], lake.read(victim["uri"])[:700])
    with pytest.raises(DataError, match=f"{victim['content_id']}.*truncated"):
        run(spark, lake, request_for(version, SMALL))
    assert examples(lake, SMALL).num_rows == 0


def it_lets_one_of_two_racing_runs_win(spark: SparkSession, lake: Storage, version: str) -> None:
    slow = plan_preprocessing(lake, request_for(version, SMALL))
    run(spark, lake, request_for(version, SMALL))
    count = examples(lake, SMALL).num_rows
    with pytest.raises(CommitConflict):
        preprocess(spark, slow)
    assert examples(lake, SMALL).num_rows == count


def it_refuses_what_it_cannot_work_with(lake: Storage, version: str) -> None:
    with pytest.raises(InvalidRequest, match="transforms"):
        plan_preprocessing(lake, request_for(version))
    with pytest.raises(InvalidRequest, match="colour"):
        plan_preprocessing(lake, request_for(version) | {"transforms": [{"colour": "red"}]})
    with pytest.raises(DataError, match="no version 'none'"):
        plan_preprocessing(lake, request_for("none", SMALL))
    with pytest.raises(DataError, match="no split 'none'"):
        plan_preprocessing(lake, request_for(version, SMALL, split_id="none"))


def it_uses_two_partitions_a_core_and_no_tiny_ones() -> None:
    assert partition_count(2, 100_000) == 4
    assert partition_count(8, 40) == 3
    assert partition_count(2, 0) == 1
