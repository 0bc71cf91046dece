"""The manifest job: every file is a row, whatever it is, and the same rows come out however the work is cut."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from darkroom.contract import IMAGES_SCHEMA, PROBLEMS, images_table
from darkroom.errors import DataError, InvalidRequest
from darkroom.outcome import as_darkroom_error
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from spark_apps.jobs import manifest as job
from spark_apps.manifest import existing_result, make_manifest, plan_manifest
from tests.suites.images import DATASET, odd_files, store, write_index

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.unit

MADE: dict[str, Any] = {}


def request_for(index: str, **layout: Any) -> dict[str, Any]:
    return {"dataset": DATASET, "raw_index": index, "layout": layout}


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, dict[str, Any]]:
    """One lake with the manifest of the odd files, and the job's result."""
    lake = open_storage(str(tmp_path_factory.mktemp("manifest")))
    plan = plan_manifest(lake, request_for(store(lake, odd_files())))
    return lake, make_manifest(spark, plan)


def rows_of(lake: Storage, version: str) -> dict[str, dict[str, Any]]:
    table = Table(lake, images_table(DATASET)).read({"version": version})
    assert table.schema == IMAGES_SCHEMA
    return {row["path"]: row for row in table.to_pylist()}


def it_has_a_row_for_every_file(made: tuple[Storage, dict[str, Any]]) -> None:
    lake, result = made
    rows = rows_of(lake, result["version"])
    assert rows.keys() == odd_files().keys()
    for path, data in odd_files().items():
        assert rows[path]["size_bytes"] == len(data)
        assert rows[path]["content_id"] == hashlib.sha256(data).hexdigest()
        assert lake.read(rows[path]["uri"]) == data


def it_gives_broken_files_a_reason(made: tuple[Storage, dict[str, Any]]) -> None:
    lake, result = made
    rows = rows_of(lake, result["version"])
    found = {path: row["problem"].partition(":")[0] for path, row in rows.items() if row["problem"]}
    assert found == {
        "train/cat/cut.jpg": "truncated",
        "train/cat/empty.jpg": "empty",
        "train/cat/page.jpg": "not_an_image",
        "train/cat/bomb.gif": "too_many_pixels",
    }
    assert set(found.values()) <= set(PROBLEMS)
    assert result["problems"] == {"empty": 1, "not_an_image": 1, "too_many_pixels": 1, "truncated": 1}


def it_measures_odd_files_like_others(made: tuple[Storage, dict[str, Any]]) -> None:
    lake, result = made
    rows = rows_of(lake, result["version"])
    told = {name: (rows[f"train/cat/{name}"]["format"], rows[f"train/cat/{name}"]["mode"]) for name in
            ("cmyk.jpg", "deep.png", "glass.png", "film.gif")}  # fmt: skip
    assert told["cmyk.jpg"] == ("JPEG", "CMYK")
    assert told["deep.png"] == ("PNG", "I;16")
    assert told["glass.png"] == ("PNG", "RGBA")
    assert told["film.gif"][0] == "GIF"
    assert (rows["train/cat/turned.jpg"]["width"], rows["train/cat/turned.jpg"]["height"]) == (90, 120)
    assert all(0 <= row["min"] <= row["mean"] <= row["max"] <= 255 for row in rows.values() if not row["problem"])


def it_counts_duplicates_leaks_and_contradictions(made: tuple[Storage, dict[str, Any]]) -> None:
    lake, result = made
    rows = rows_of(lake, result["version"])
    assert rows["test/cat/copy.jpg"]["duplicate_cluster"] == rows["train/cat/00.jpg"]["content_id"]
    pair = [rows["train/dog/02.jpg"], rows["test/dog/again.jpg"]]
    assert {row["duplicate_cluster"] for row in pair} == {min(row["content_id"] for row in pair)}
    assert rows["train/dog/03.jpg"]["duplicate_cluster"] is None
    assert result["duplicates"]["exact"] == 2
    # Beside the pair of dogs: deep, glass, cmyk and film show pictures 1 to 4 in another mode.
    assert result["duplicates"]["clusters"] == 5
    assert result["duplicates"]["near"] == 10
    assert result["leaks_between_given_splits"] == 1
    assert result["near_leaks_between_given_splits"] == 1
    assert result["contradictions"] == 1
    assert result["unlabelled"] == 1
    assert result["classes"] == {"cat": 22, "dog": 14}
    assert result["images"] == len(odd_files())


@pytest.mark.parametrize(("partitions", "seed"), [(1, 1), (4, 2)])
def it_gives_equal_rows_whatever_the_partitions_and_the_order(
    made: tuple[Storage, dict[str, Any]], spark: SparkSession, lake: Storage, partitions: int, seed: int
) -> None:
    first_lake, first = made
    plan = plan_manifest(lake, request_for(store(lake, odd_files(), seed=seed)))
    assert make_manifest(spark, plan, partitions) == first
    expected = Table(first_lake, images_table(DATASET)).read({"version": first["version"]})
    assert Table(lake, images_table(DATASET)).read({"version": first["version"]}).equals(expected)


def it_skips_a_version_that_exists(made: tuple[Storage, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    lake, result = made
    again = store(lake, odd_files(), index="again", seed=9)
    assert existing_result(plan_manifest(lake, request_for(again))) == {**result, "changed": False}
    monkeypatch.setenv("DARKROOM_LAKE", lake.root)
    get_settings.cache_clear()
    try:
        repeated = job.make(request_for(again))  # starts no Spark session: one is running, and would be stopped
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert repeated.pop("seconds") >= 0
    assert repeated == {**result, "changed": False}


def it_names_another_version_for_other_files_labels_or_options(lake: Storage) -> None:
    files = odd_files()
    index = store(lake, files)
    versions = [
        plan_manifest(lake, request_for(index)).version,
        plan_manifest(lake, request_for(index, labels={"cat": "animal"})).version,
        plan_manifest(lake, request_for(index, groups="^([0-9])")).version,
        plan_manifest(lake, request_for(store(lake, files | {"new.png": b"?"}, index="more"))).version,
        plan_manifest(lake, request_for(store(lake, files | {"train/cat/00.jpg": b"?"}, index="other"))).version,
    ]
    assert len(set(versions)) == len(versions)


def it_works_without_any_label(spark: SparkSession, lake: Storage) -> None:
    flat = {path.replace("/", "-"): data for path, data in list(odd_files().items())[:3]}
    result = make_manifest(spark, plan_manifest(lake, request_for(store(lake, flat))))
    assert result["classes"] == {}
    assert result["unlabelled"] == 3


def it_works_where_every_file_is_broken(spark: SparkSession, lake: Storage) -> None:
    result = make_manifest(spark, plan_manifest(lake, request_for(store(lake, {"a/x.jpg": b"", "b/y.jpg": b"?"}))))
    assert result["problems"] == {"empty": 1, "not_an_image": 1}


def it_refuses_what_it_cannot_work_with(lake: Storage) -> None:
    index = store(lake, odd_files())
    with pytest.raises(InvalidRequest, match="raw_index"):
        plan_manifest(lake, {"dataset": DATASET})
    with pytest.raises(InvalidRequest, match="extra"):
        plan_manifest(lake, request_for(index) | {"extra": 1})
    with pytest.raises(InvalidRequest):
        plan_manifest(lake, request_for(index) | {"dataset": "../up"})
    with pytest.raises(InvalidRequest, match="fits none"):
        plan_manifest(lake, request_for(index, labels={"horse": "animal"}))
    with pytest.raises(DataError, match="no index"):
        plan_manifest(lake, request_for("raw/odds/index/none.parquet"))
    with pytest.raises(DataError, match="no files"):
        plan_manifest(lake, request_for(write_index(lake, [], "nothing")))


def it_checks_the_content_of_in_place_sources(spark: SparkSession, lake: Storage, tmp_path: Path) -> None:
    files = dict(list(odd_files().items())[:2])
    rows: list[dict[str, Any]] = []
    for number, (path, data) in enumerate(files.items()):
        place = tmp_path / f"{number}.jpg"
        place.write_bytes(data)
        content_id = hashlib.sha256(data).hexdigest()
        rows.append({"path": path, "content_id": content_id, "size_bytes": len(data), "uri": str(place)})
    plan = plan_manifest(lake, request_for(write_index(lake, rows)))
    (tmp_path / "1.jpg").write_bytes(files[rows[0]["path"]])
    with pytest.raises(Exception, match="has changed since") as caught:
        make_manifest(spark, plan)
    error = as_darkroom_error(caught.value)
    assert isinstance(error, DataError)
    assert "1.jpg has changed since the dataset was downloaded" in error.message
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(Exception, match="is gone since"):
        make_manifest(spark, plan)
    (tmp_path / "1.jpg").write_bytes(files[rows[1]["path"]])
    assert make_manifest(spark, plan)["images"] == 2
