"""The split proven on real images: a CT set full of copies, and chest X-rays with patients."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from darkroom.contract import OUT, REASON_CONTRADICTION, SPLITS, images_table
from darkroom.errors import DataError
from darkroom.imagestats import measure
from darkroom.settings import get_settings
from darkroom.sources import fetch, parse_source
from darkroom.splitting import checked_options, leaks_between_given_splits, split
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from spark_apps.manifest import MEASURED_SCHEMA, cluster, image_rows, plan_manifest

pytestmark = pytest.mark.integration

CT_CLASSES = r"^(adenocarcinoma|large\.cell\.carcinoma|squamous\.cell\.carcinoma|normal)"


def prepared(name: str, root: Path, **layout: Any) -> tuple[Storage, pa.Table]:
    """A lake with the archive in it, and its manifest, made without Spark."""
    archive = get_settings().samples / f"{name}.zip"
    if not archive.exists():
        pytest.skip(f"{archive} is not there; DARKROOM_SAMPLES names the folder of real image sets")
    lake = open_storage(str(root))
    fetched = fetch(parse_source({"type": "archive", "url": str(archive)}), "real", lake)
    plan = plan_manifest(lake, {"dataset": "real", "raw_index": fetched.index_path, "layout": layout})
    uris = dict(zip(plan.index["content_id"].to_pylist(), plan.index["uri"].to_pylist(), strict=True))
    rows = []
    for content_id, uri in sorted(uris.items()):
        found = vars(measure(lake.read(uri))).copy()
        found["thumbnail"] = None if found["thumbnail"] is None else found["thumbnail"].tobytes()
        rows.append({"content_id": content_id, **found})
    measured = pa.Table.from_pylist(rows, schema=MEASURED_SCHEMA)
    images = image_rows(plan, measured, cluster(measured))
    Table(lake, images_table("real")).commit(plan.partition, images, {})
    return lake, images


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, pa.Table]:
    return prepared("chest-ct-400", tmp_path_factory.mktemp("ct"), labels=CT_CLASSES)


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, pa.Table]:
    return prepared("chest-xray-224", tmp_path_factory.mktemp("xray"), groups="chest-xray")


def given_splits(images: pa.Table) -> dict[str, set[str]]:
    """The given splits of each content."""
    found = defaultdict(set)
    for content_id, given in zip(images["content_id"].to_pylist(), images["given_split"].to_pylist(), strict=True):
        found[content_id].add(given)
    return found


def crossing(images: pa.Table, table: pa.Table) -> list[str]:
    split_of = {row["content_id"]: row["split"] for row in table.to_pylist() if row["split"] != OUT}
    found = defaultdict(set)
    for row in images.to_pylist():
        for key in ("group", "duplicate_cluster"):
            if row["content_id"] in split_of and row[key]:
                found[f"{key} {row[key]}"].add(split_of[row["content_id"]])
    return [key for key, splits in found.items() if len(splits) > 1]


def it_finds_the_ct_sets_leaks_between_its_given_splits(ct: tuple[Storage, pa.Table]) -> None:
    leaks = leaks_between_given_splits(ct[1])
    assert leaks["given_splits"] == {"train": 613, "val": 72, "test": 315}
    assert (leaks["identical"]["sets"], leaks["identical"]["files"]) == (22, 120)
    assert leaks["identical"]["between"]["train/test"] == 19
    assert leaks["near_duplicates"]["sets"] == 7


def it_maps_class_folders_that_are_named_differently(ct: tuple[Storage, pa.Table]) -> None:
    assert sorted(set(ct[1]["label"].to_pylist())) == [
        "adenocarcinoma",
        "large.cell.carcinoma",
        "normal",
        "squamous.cell.carcinoma",
    ]


def it_puts_identical_files_of_train_and_test_on_one_side(ct: tuple[Storage, pa.Table]) -> None:
    result = split(ct[1], checked_options({}))
    torn = [content_id for content_id, given in given_splits(ct[1]).items() if len(given) > 1]
    assert len(torn) == 22 == result.summary["leaks_removed"]["identical"]
    rows = {row["content_id"]: row for row in result.table.to_pylist()}
    assert len(rows) == result.table.num_rows == len(set(ct[1]["content_id"].to_pylist()))
    assert {rows[content_id]["split"] for content_id in torn} <= {*SPLITS, OUT}
    assert crossing(ct[1], result.table) == []
    assert (result.summary["files"], result.summary["contents"]) == (1000, 847)
    assert (result.summary["units"], result.summary["largest"]["images"]) == (816, 4)


def it_takes_the_contradicting_pair_out_and_reports_it(ct: tuple[Storage, pa.Table]) -> None:
    result = split(ct[1], checked_options({}))
    found = result.summary["contradictions"]
    assert (found["contents"], found["files"]) == (1, 2)
    paths = {one["path"] for one in found["examples"][0]}
    assert len({one["label"] for one in found["examples"][0]}) == 2
    out = [row for row in result.table.to_pylist() if row["reason"] == REASON_CONTRADICTION]
    assert [(row["split"], row["path"]) for row in out] == [(OUT, min(paths))]


def it_keeps_the_given_ct_test_split_free_of_leaks(ct: tuple[Storage, pa.Table]) -> None:
    result = split(ct[1], checked_options({"keep_given_test": True}))
    given = {content_id for content_id, splits in given_splits(ct[1]).items() if "test" in splits}
    rows = result.table.to_pylist()
    assert {row["content_id"] for row in rows if row["split"] == "test"} <= given
    assert all(row["split"] in ("test", OUT) for row in rows if row["content_id"] in given)
    assert crossing(ct[1], result.table) == []
    assert sum(result.summary["counts"]["test"].values()) == 288
    assert result.summary["leaks_removed"]["contents"] == 3


def it_makes_one_split_of_the_ct_set_and_says_nothing_changed(ct: tuple[Storage, pa.Table]) -> None:
    lake, images = ct
    request = {"dataset": "real", "version": images["version"][0].as_py(), "options": {}}
    first = split_dataset(lake, request)
    assert split_dataset(lake, request) == {**first, "changed": False}


def it_keeps_x_ray_patients_whole_with_the_given_test_split(xray: tuple[Storage, pa.Table]) -> None:
    leaks = leaks_between_given_splits(xray[1])
    assert leaks["given_splits"] == {"train": 5216, "val": 0, "test": 624}
    assert (leaks["identical"]["sets"], leaks["groups"]["sets"]) == (0, 0)
    result = split(xray[1], checked_options({"keep_given_test": True}))
    assert crossing(xray[1], result.table) == []
    assert sum(result.summary["counts"]["test"].values()) == 624 - copies_in_test(xray[1]) == 618
    assert (result.summary["units"], result.summary["largest"]["images"]) == (4081, 30)
    assert result.summary["leaks_removed"]["contents"] == 0
    assert leaks["near_duplicates"]["sets"] == 0
    assert result.summary["contradictions"]["contents"] == 0


def copies_in_test(images: pa.Table) -> int:
    ids = [row["content_id"] for row in images.to_pylist() if row["given_split"] == "test"]
    return len(ids) - len(set(ids))


def it_ends_photographs_without_classes_at_the_split_with_one_sentence(tmp_path: Path) -> None:
    lake, images = prepared("imagenet-sample-400", tmp_path)
    assert images.num_rows > 0
    assert images["label"].null_count == images.num_rows
    request = {"dataset": "real", "version": images["version"][0].as_py(), "options": {}}
    with pytest.raises(DataError, match="class") as caught:
        split_dataset(lake, request)
    print(caught.value.message)
    assert "\n" not in caught.value.message
