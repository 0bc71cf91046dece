"""The EDA of a dirty dataset: what it counts, shows and finds, and how it runs as a step."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import images_table, splits_table
from darkroom.eda import build_eda, eda_dataset
from darkroom.eda.statistics import cross, duplicates, gather, train_balance
from darkroom.errors import DataError, InvalidRequest
from darkroom.splitting import SplitOptions, split
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from tests.suites.eda import EVIL, File, jpeg, manifest, page_of

pytestmark = pytest.mark.unit


def dirty() -> list[File]:
    """60 images with every kind of dirt."""
    files: list[File] = []
    for i in range(60):
        label, given = ("cat", "dog")[i % 3 == 0], ("train", "train", "train", "test", "val")[i % 5]
        picture = jpeg(i, width=40 + i, mode="L" if i % 4 else "RGB")
        files.append((f"{given}/{label}/{i:03d}.jpg", picture, label, given, f"p{i // 2}"))
    files += [
        ("test/cat/copy of 000.jpg", jpeg(0, width=40, mode="RGB"), "dog", "test", None),  # leaks; 000 is a dog
        ("train/cat/near 001.jpg", jpeg(1, width=41, quality=70), "cat", "train", None),
        ("test/cat/near 005.jpg", jpeg(5, width=45, quality=70), "cat", "test", None),
        ("train/cat/two.jpg", jpeg(99), "cat", "train", None),
        ("train/dog/two.jpg", jpeg(99), "dog", "train", None),  # contradicts
        (f"train/cat/{EVIL}.jpg", b"", "cat", "train", None),
        ("train/cat/cut.jpg", jpeg(98)[:300], "cat", "train", None),
        ("train/dog/page.jpg", b"<html></html>", "dog", "train", None),
        ("loose.jpg", jpeg(97), None, None, None),
    ]
    return files


@pytest.fixture(scope="module")
def images() -> tuple[pa.Table, dict[str, bytes]]:
    return manifest(dirty())


@pytest.fixture(scope="module")
def built(images: tuple[pa.Table, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, dict]:
    """A lake with the dashboard of the dirty images below "eda", and its summary."""
    lake = open_storage(str(tmp_path_factory.mktemp("built")))
    table, contents = images
    return lake, build_eda(table, None, contents.__getitem__, lake, "eda", EVIL)


def it_counts_what_is_in_the_data(built: tuple[Storage, dict[str, Any]]) -> None:
    lake, summary = built
    assert summary["images"] == 69
    assert summary["distinct_images"] == 67
    assert summary["usable_images"] == 66
    assert summary["classes"] == {"cat": 45, "dog": 23}
    assert summary["without_label"] == 1
    assert summary["given_splits"] == {"train": 42, "test": 14, "val": 12}
    assert summary["problems"] == {"empty": 1, "not_an_image": 1, "truncated": 1}
    assert summary["exact_duplicates"] == {"sets": 2, "files": 4}
    assert summary["near_duplicates"] == {"sets": 2, "files": 4}
    assert summary["contradictions"] == {"contents": 1, "files": 2}
    assert summary["leaks"]["identical"] == {"sets": 1, "files": 2}
    assert summary["leaks"]["near_duplicates"] == {"sets": 1, "files": 2}
    assert summary["leaks"]["groups"]["sets"] > 0
    assert json.loads(lake.read("eda/summary.json")) == summary


def it_leaves_a_page_that_needs_nothing_else_and_each_chart_as_a_file(built: tuple[Storage, dict[str, Any]]) -> None:
    lake, _ = built
    names = {blob.path.rpartition("/")[2] for blob in lake.list("eda")}
    assert {"index.html", "summary.json", "images_per_split.png", "split_shares.png", "population.png", "samples.png",
            "classes_per_split.png", "widths_heights.png", "size_histograms.png", "pixel_intensity.png",
            "pixel_intensity_by_class.png", "intensity_statistics.png"} <= names  # fmt: skip
    page = page_of(lake)
    assert len(page) < 5_000_000
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:image/|#)', page)
    for anchor in (
        "findings",
        "splits",
        "samples",
        "sizes",
        "intensity",
        "problems",
        "duplicates",
        "leaks",
        "contradictions",
    ):
        assert f'id="{anchor}"' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x$ &amp; &quot;q&quot;.jpg" in page


def it_makes_the_same_bytes_again_and_other_samples_with_another_seed(
    images: tuple[pa.Table, dict[str, bytes]], built: tuple[Storage, dict[str, Any]]
) -> None:
    (table, contents), (lake, _) = images, built
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    build_eda(shuffled, None, contents.__getitem__, lake, "again", EVIL)
    build_eda(table, None, contents.__getitem__, lake, "other", EVIL, seed=5)
    read = {
        folder: {blob.path.rpartition("/")[2]: lake.read(blob.path) for blob in lake.list(folder)}
        for folder in ("eda", "again", "other")
    }
    assert read["eda"] == read["again"]
    assert read["eda"]["samples.png"] != read["other"]["samples.png"]


def it_shows_a_split_before_and_after(images: tuple[pa.Table, dict[str, bytes]], lake: Storage) -> None:
    table, contents = images
    result = split(table, SplitOptions(rebalance="oversample"))
    summary = build_eda(table, result.table, contents.__getitem__, lake, "eda", "T")
    page = page_of(lake)
    assert 'id="before-after"' in page
    assert sum(summary["splits"].values()) == 67
    assert all(summary["leaks_after"][kind]["sets"] == 0 for kind in ("identical", "near_duplicates", "groups"))
    assert "No file, near duplicate or group lies in more than one part of the new split." in page
    assert lake.stat("eda/before_after.png") is not None
    assert lake.stat("eda/train_balance.png") is not None


def it_finds_leaks_in_a_bad_new_split(images: tuple[pa.Table, dict[str, bytes]], lake: Storage) -> None:
    table, contents = images
    good = split(table, SplitOptions()).table
    position = good.column_names.index("split")
    swapped = pa.array([("train", "test")[i % 2] for i in range(good.num_rows)])
    bad = good.set_column(position, good.schema.field("split"), swapped)
    summary = build_eda(table, bad, contents.__getitem__, lake, "eda", "T")
    assert summary["leaks_after"]["groups"]["sets"] > 0
    assert "The new split is not clean" in page_of(lake)


def it_tells_how_train_was_rebalanced(images: tuple[pa.Table, dict[str, bytes]]) -> None:
    for rebalance, column in (("class_weights", "loss"), ("oversample", "seen"), ("undersample", "after")):
        result = split(images[0], SplitOptions(rebalance=rebalance))
        balance = train_balance(gather(images[0], result.table).splits)
        assert balance.loc["cat", "before"] > 1.3 * balance.loc["dog", "before"]
        assert balance.loc["cat", column] == pytest.approx(balance.loc["dog", column], rel=0.01)


def it_counts_rows_by_split_and_class_including_those_without(images: tuple[pa.Table, dict[str, bytes]]) -> None:
    facts = gather(images[0], None)
    counts = cross(facts.rows, ["cat", None], ["val", "test", None])
    assert counts.tolist() == [[8, 0], [9, 0], [0, 1]]


def it_lists_the_largest_sets_of_duplicates_first() -> None:
    files: list[File] = [(f"{i}.jpg", jpeg(i // 3), "a", None, None) for i in range(9)]
    files.append(("more.jpg", jpeg(2), "a", None, None))
    found = duplicates(gather(manifest(files)[0], None).files)["exact"]
    assert [one["files"] for one in found["largest"]] == [4, 3, 3]
    assert found["largest"][0]["paths"] == ["6.jpg", "7.jpg", "8.jpg", "more.jpg"]


@pytest.fixture
def prepared(lake: Storage, images: tuple[pa.Table, dict[str, bytes]]) -> tuple[Storage, str]:
    """A lake with one version and one split of it; the split_id."""
    table, contents = images
    for uri, data in contents.items():
        lake.write(uri, data)
    Table(lake, images_table("pets")).commit({"version": "v1"}, table, {})
    result = split(table, SplitOptions())
    Table(lake, splits_table("pets")).commit({"split_id": result.split_id}, result.table, {})
    return lake, result.split_id


def it_runs_as_a_step_and_does_nothing_the_second_time(prepared: tuple[Storage, str]) -> None:
    lake, split_id = prepared
    for request in (
        {"dataset": "pets", "version": "v1", "split_id": None},
        {"dataset": "pets", "version": "v1", "split_id": split_id},
    ):
        first = eda_dataset(lake, request)
        blob = lake.stat(first["page"])
        second = eda_dataset(lake, request)
        assert (first["changed"], second["changed"]) == (True, False)
        assert first["page"] == second["page"] == f"reports/datasets/pets/{request['split_id'] or 'v1'}/eda/index.html"
        assert first["summary"] == second["summary"]
        assert lake.stat(first["page"]) == blob
        assert "unreadable_pictures" not in first["summary"]
        json.dumps(first)


def it_builds_the_page_again_when_it_was_left_half_done(prepared: tuple[Storage, str]) -> None:
    lake, _ = prepared
    request = {"dataset": "pets", "version": "v1", "split_id": None}
    page = eda_dataset(lake, request)["page"]
    lake.write(page.replace("index.html", "summary.json"), b'{"fingerprint": ')
    assert eda_dataset(lake, request)["changed"]


@pytest.mark.parametrize(
    ("request_", "error", "told"),
    [
        ({}, InvalidRequest, "Expected a dataset and a version"),
        ({"dataset": "pets", "version": None}, InvalidRequest, "Expected a dataset and a version"),
        ({"dataset": "../x", "version": "v1"}, InvalidRequest, "cannot be used"),
        ({"dataset": "pets", "version": "v9"}, DataError, "no version 'v9'"),
        ({"dataset": "pets", "version": "v1", "split_id": "nope"}, DataError, "no split 'nope'"),
    ],
)
def it_refuses_what_is_not_there(
    prepared: tuple[Storage, str], request_: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        eda_dataset(prepared[0], request_)
