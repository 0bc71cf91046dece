"""The split of a dataset that has grown: nobody moves, and nothing leaks."""

from __future__ import annotations

import pytest

from darkroom.contract import (
    OUT,
    REASON_CONTRADICTION,
    REASON_LEAK,
    REASON_UNDERSAMPLED,
    SPLITS,
)
from darkroom.splitting import split
from tests.suites.manifests import content, manifest, random_manifest
from tests.suites.splits import by_path, crossing, options, plain, rows_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rebalance", ["none", "undersample"])
def it_moves_nobody_when_the_dataset_grows(seed: int, rebalance: str) -> None:
    asked = options(seed=seed, rebalance=rebalance)
    before = split(random_manifest(1000, seed), asked)
    grown = random_manifest(1200, seed, version="v2")
    after = split(grown, asked, before.table)
    old, new = rows_of(before.table), rows_of(after.table)
    for key, row in old.items():
        if row["split"] != OUT and new[key]["split"] != OUT:
            assert new[key]["split"] == row["split"]
        elif row["split"] != OUT:
            assert new[key]["reason"] in (REASON_CONTRADICTION, REASON_UNDERSAMPLED, REASON_LEAK)
    assert crossing(grown, after.table) == set()
    assert after.summary["parent"] == before.split_id
    assert after.summary["inherited"]["new"] == len(new) - len(old)
    counts = after.summary["counts"]
    total = sum(sum(by_class.values()) for by_class in counts.values())
    assert abs(sum(counts["test"].values()) / total - 0.15) < 0.03


def it_keeps_everything_when_only_the_rebalancing_changes() -> None:
    images = random_manifest(800, 2)
    first = split(images, options())
    again = split(images, options(rebalance="oversample"), first.table)
    assert again.table["split"].to_pylist() == first.table["split"].to_pylist()
    assert again.split_id != first.split_id


def it_leaves_out_a_new_image_that_would_tie_two_splits() -> None:
    rows = plain(40)
    parent = split(manifest(rows), options()).table
    where = by_path(parent)
    of = {name: next(row for row in rows if where[row["path"]]["split"] == name) for name in ("train", "test")}
    tied = [dict(row) for row in rows]
    for row in tied:
        if row["path"] == of["train"]["path"]:
            row["group"] = "g"
        if row["path"] == of["test"]["path"]:
            row["duplicate_cluster"] = "c"
    bridge = {"path": "a/new.jpg", "label": "a", "group": "g", "duplicate_cluster": "c"}
    friend = {"path": "a/friend.jpg", "label": "a", "group": "g"}
    after = by_path(split(manifest([*tied, bridge, friend], "v2"), options(), parent).table)
    assert (after["a/new.jpg"]["split"], after["a/new.jpg"]["reason"]) == (OUT, REASON_LEAK)
    assert after["a/friend.jpg"]["split"] == "train"
    assert after[of["train"]["path"]]["split"] == "train"
    assert after[of["test"]["path"]]["split"] == "test"


def it_leaves_out_new_images_that_tie_two_splits_through_each_other() -> None:
    rows = plain(40)
    parent = split(manifest(rows), options()).table
    where = by_path(parent)
    train, test = (next(row for row in rows if where[row["path"]]["split"] == name) for name in ("train", "test"))
    train["group"], test["group"] = "g train", "g test"
    new = [
        {"path": "a/n1.jpg", "label": "a", "group": "g train", "duplicate_cluster": "c"},
        {"path": "a/n2.jpg", "label": "a", "group": "g test", "duplicate_cluster": "c"},
        {"path": "a/n3.jpg", "label": "a", "duplicate_cluster": "c"},
    ]
    images = manifest([*rows, *new], "v2")
    after = split(images, options(), parent).table
    assert crossing(images, after) == set()
    found = by_path(after)
    assert [found[one["path"]]["reason"] for one in new[:2]] == [REASON_LEAK, REASON_LEAK]
    assert found["a/n3.jpg"]["split"] in SPLITS


def it_keeps_old_images_where_a_new_one_joins_their_clusters_and_goes_on_so() -> None:
    rows = plain(40)
    first = split(manifest(rows), options()).table
    where = by_path(first)
    joined = [next(row for row in rows if where[row["path"]]["split"] == name) for name in ("train", "test")]
    for row in joined:
        row["duplicate_cluster"] = "c"
    grown = [*rows, {"path": "a/new.jpg", "label": "a", "duplicate_cluster": "c"}]
    second = split(manifest(grown, "v2"), options(), first).table
    third = split(manifest([*grown, {"path": "a/other.jpg", "label": "a"}], "v3"), options(), second).table
    for table in (second, third):
        found = by_path(table)
        assert [found[row["path"]]["split"] for row in joined] == ["train", "test"]
        assert [found[row["path"]]["duplicate_cluster"] for row in joined] == [None, None]
        assert found["a/new.jpg"]["reason"] == REASON_LEAK


def it_lets_test_win_where_old_images_turn_out_to_belong_together() -> None:
    rows = plain(40)
    first = split(manifest(rows), options()).table
    where = by_path(first)
    train, val, test = (
        next(row for row in rows if where[row["path"]]["split"] == name) for name in ("train", "val", "test")
    )
    for row in (train, val, test):
        row["group"] = "one patient after all"
    found = by_path(split(manifest(rows, "v2"), options(), first).table)
    assert found[test["path"]]["split"] == "test"
    assert [found[row["path"]]["reason"] for row in (train, val)] == [REASON_LEAK, REASON_LEAK]


def it_takes_out_an_old_image_whose_new_copy_lies_in_a_group_of_another_split() -> None:
    rows = [*plain(40)]
    for number, row in enumerate(rows):
        row["group"] = f"p{number // 2}"
    first = split(manifest(rows), options()).table
    where = by_path(first)
    train = next(row for row in rows if where[row["path"]]["split"] == "train")
    test = next(row for row in rows if where[row["path"]]["split"] == "test")
    copy = {"path": "z/copy.jpg", "content_id": content(train["path"]), "label": train["label"], "group": test["group"]}
    images = manifest([*rows, copy], "v2")
    after = split(images, options(), first).table
    assert crossing(images, after) == set()
    assert by_path(after)[train["path"]]["reason"] == REASON_LEAK
    assert sum(row["reason"] == REASON_LEAK for row in after.to_pylist()) == 1
