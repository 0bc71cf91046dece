"""A folder whose images stay in place: one suite for every kind of storage that holds them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from darkroom.contract import RAW_INDEX_SCHEMA, examples_table, images_table
from darkroom.eda import eda_dataset
from darkroom.errors import DataError
from darkroom.inbox import fill_inbox
from darkroom.lake_check import check_lake, images_in_place
from darkroom.lake_copy import copy_lake
from darkroom.prepare_request import PrepareRequest
from darkroom.reader import ImageReader
from darkroom.sources import FetchResult, FolderSource, fetch
from darkroom.splitting_flow import split_dataset
from darkroom.storage import FolderStorage, Storage
from darkroom.tables import Table
from spark_apps.manifest import existing_result, make_manifest, plan_manifest
from spark_apps.preprocess import plan_preprocessing, preprocess
from tests.packages import TRANSFORM, png

ODD = "train/lit #1/ü a?b%20c.png"


def rows_of(lake: Storage, taken: FetchResult) -> dict[str, dict[str, Any]]:
    table = pq.read_table(io.BytesIO(lake.read(taken.index_path)))
    assert table.schema.equals(RAW_INDEX_SCHEMA)
    return {row["path"]: row for row in table.to_pylist()}


class InPlaceSuite:
    """``source`` is a storage with the images, ``lake`` an empty lake."""

    @pytest.fixture
    def files(self, source: Storage) -> dict[str, bytes]:
        files = {
            f"{part}/{label}/{n}.png": png(165 if label == "lit" else 90, 1000 * k + n)
            for k, (part, label) in enumerate((p, c) for p in ("train", "test") for c in ("lit", "dark"))
            for n in range(12)
        }
        files |= {ODD: png(165, 99), "train/dark/words.txt": b"no image", "train/dark/empty.png": b""}
        for path, data in {**files, ".DS_Store": b"x"}.items():
            source.write(path, data)
        return files

    def take(self, source: Storage, lake: Storage) -> FetchResult:
        return fetch(FolderSource(uri=source.root, in_place=True), "pets", lake)

    def it_keeps_addresses_and_tags_and_no_copies(
        self, source: Storage, lake: Storage, files: dict[str, bytes]
    ) -> None:
        taken = self.take(source, lake)
        assert taken.left_out == {"system files": 1}
        assert list(lake.list("raw/pets/blobs")) == []
        rows = rows_of(lake, taken)
        assert {path: row["uri"] for path, row in rows.items()} == {path: source.uri(path) for path in files}
        assert all(row["etag"] for row in rows.values())
        wanted = [(row["uri"], row["content_id"]) for row in rows.values()]
        reader = pickle.loads(pickle.dumps(ImageReader(lake)))
        assert list(reader.read_all(wanted)) == [files[path] for path in rows]

    def it_changes_nothing_the_second_time_and_takes_what_changed_the_next(
        self, source: Storage, lake: Storage, files: dict[str, bytes]
    ) -> None:
        first = self.take(source, lake)
        said: list[str] = []
        again = fetch(FolderSource(uri=source.root, in_place=True), "pets", lake, said.append)
        assert (again.changed, again.index_id) == (False, first.index_id)
        assert "nothing changed" in said[-1]
        source.write("train/lit/0.png", png(10, 7))
        source.delete("test/lit/0.png")
        source.write("test/lit/new.png", png(20, 8))
        before, after = rows_of(lake, first), rows_of(lake, second := self.take(source, lake))
        assert second.changed
        assert set(after) == set(before) - {"test/lit/0.png"} | {"test/lit/new.png"}
        assert {path for path in after if path in before and after[path] != before[path]} == {"train/lit/0.png"}

    def it_says_that_an_image_changed_or_is_gone(self, source: Storage, lake: Storage, files: dict[str, bytes]) -> None:
        rows, reader = rows_of(lake, self.take(source, lake)), ImageReader(lake)
        source.write("train/lit/0.png", png(10, 7))
        source.delete(ODD)
        with pytest.raises(DataError, match=r"train/lit/0\.png has changed since the dataset was downloaded"):
            reader.read(rows["train/lit/0.png"]["uri"], rows["train/lit/0.png"]["content_id"])
        with pytest.raises(DataError, match="is gone since the dataset was downloaded"):
            reader.read(rows[ODD]["uri"], rows[ODD]["content_id"])

    def it_goes_through_manifest_eda_split_and_preprocess(
        self, source: Storage, lake: Storage, files: dict[str, bytes], spark: Any, tmp_path: Path
    ) -> None:
        layout = {"labels": {"lit #1": "lit"}}
        request = {"dataset": "pets", "raw_index": self.take(source, lake).index_path, "layout": layout}
        plan = plan_manifest(lake, request)
        made = make_manifest(spark, plan, 2)
        assert made["images"] == len(files)
        assert made["problems"] == {"empty": 1, "not_an_image": 1}
        assert existing_result(plan_manifest(lake, request)) == {**made, "changed": False}
        version = made["version"]
        options = PrepareRequest(dataset="pets", source="folder", location=source.root, in_place=True).split_options()
        split = split_dataset(lake, {"dataset": "pets", "version": version, "options": options})
        chosen = {"dataset": "pets", "version": version, "split_id": split["split_id"]}
        assert eda_dataset(lake, chosen)["changed"]
        preprocess(spark, plan_preprocessing(lake, {**chosen, "transforms": [TRANSFORM.model_dump()]}), 2)
        assert Table(lake, examples_table("pets")).read().num_rows == len(files) - 2
        placed = fill_inbox(lake, **chosen, feed="pets", dates=["2026-01-01"], per_date=3, seed=0)
        assert placed == len([b for b in lake.list("inbox/pets/dt=2026-01-01") if b.path.endswith(".png")]) > 0
        assert list(lake.list("raw/pets/blobs")) == []

        checked = check_lake(lake, lambda *_: None)
        assert (checked.findings, checked.in_place) == ([], len(files))
        copied = FolderStorage(tmp_path / "copied")
        copy_lake(lake, copied, tmp_path / "journals", lambda _: None)
        assert images_in_place(copied) == len(files)
        assert check_lake(copied, lambda *_: None).findings == []
        (row, *_) = Table(copied, images_table("pets")).read({"version": version}).to_pylist()
        assert ImageReader(copied).read(row["uri"], row["content_id"]) == files[row["path"]]

    def it_makes_another_version_than_copies_of_the_same_files(
        self, source: Storage, lake: Storage, files: dict[str, bytes]
    ) -> None:
        copied = fetch(FolderSource(uri=source.root), "pets", lake)
        taken = self.take(source, lake)
        assert taken.index_id != copied.index_id
        versions = {plan_manifest(lake, {"dataset": "pets", "raw_index": one.index_path}).version
                    for one in (copied, taken)}  # fmt: skip
        assert len(versions) == 2
        assert not fetch(FolderSource(uri=source.root), "pets", lake).changed
        assert not self.take(source, lake).changed
