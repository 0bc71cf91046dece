"""The split: disjoint, units whole, stable, and one sentence where it cannot be made."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pytest

from darkroom.contract import (
    OUT,
    REASON_CONTRADICTION,
    REASON_LEAK,
    REASON_NO_LABEL,
    REASON_PROBLEM,
    REASON_SURPLUS,
    REASON_UNDERSAMPLED,
    SPLITS,
    SPLITS_SCHEMA,
)
from darkroom.errors import DataError, InvalidRequest
from darkroom.splitting import SplitOptions, checked_options, leaks_between_given_splits, split
from tests.suites.manifests import content, manifest, random_manifest, shuffled

pytestmark = pytest.mark.unit


def options(**changes: Any) -> SplitOptions:
    return checked_options({"rebalance": "none", **changes})


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["content_id"]: row for row in table.to_pylist()}


def by_path(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in table.to_pylist()}


def crossing(images: pa.Table, table: pa.Table) -> set[str]:
    """Groups (of every file, also copies) and clusters that lie in more than one split."""
    split_of = {key: row["split"] for key, row in rows_of(table).items() if row["split"] != OUT}
    found = defaultdict(set)
    for row in images.to_pylist():
        if row["content_id"] in split_of and row["group"]:
            found["group " + row["group"]].add(split_of[row["content_id"]])
    for row in table.to_pylist():
        if row["content_id"] in split_of and row["duplicate_cluster"]:
            found["cluster " + row["duplicate_cluster"]].add(row["split"])
    return {key for key, splits in found.items() if len(splits) > 1}


def plain(per_class: int, classes: str = "ab", **columns: Any) -> list[dict[str, Any]]:
    return [{"path": f"{label}/{n:04}.jpg", "label": label, **columns} for label in classes for n in range(per_class)]


# --- what always holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("keep", [False, True])
def it_keeps_units_whole_and_every_content_once(seed: int, keep: bool) -> None:
    images = random_manifest(1500, seed)
    result = split(images, options(seed=seed, keep_given_test=keep))
    assert result.table.schema == SPLITS_SCHEMA
    assert result.table["content_id"].to_pylist() == sorted(set(images["content_id"].to_pylist()))
    assert crossing(images, result.table) == set()
    for row in result.table.to_pylist():
        assert (row["split"] == OUT) == (row["reason"] is not None)
        assert row["split"] in (*SPLITS, OUT)
        assert row["split_id"] == result.split_id


@pytest.mark.parametrize("order", range(3))
def it_does_not_depend_on_the_order_of_rows(order: int) -> None:
    images = random_manifest(1200, 5)
    first = split(images, options(rebalance="undersample"))
    again = split(shuffled(images, order), options(rebalance="undersample"))
    assert again.table.equals(first.table)
    assert again.summary == first.summary


def it_does_not_depend_on_the_order_of_rows_with_a_parent() -> None:
    parent = split(random_manifest(900, 5), options()).table
    grown = random_manifest(1200, 5, version="v2")
    assert split(shuffled(grown, 1), options(), shuffled(parent, 2)).table.equals(split(grown, options(), parent).table)


def it_differs_with_the_seed() -> None:
    images = random_manifest(1000, 1)
    one, other = split(images, options(seed=1)), split(images, options(seed=2))
    assert one.split_id != other.split_id
    assert one.table["split"].to_pylist() != other.table["split"].to_pylist()


@pytest.mark.parametrize("seed", range(3))
def it_meets_the_proportions_within_chance_in_each_class(seed: int) -> None:
    result = split(random_manifest(3000, seed), options(proportions={"train": 0.6, "val": 0.1, "test": 0.3}))
    largest = result.summary["largest"]["images"]
    for label in ("NORMAL", "PNEUMONIA"):
        counts = {name: result.summary["counts"][name][label] for name in SPLITS}
        total = sum(counts.values())
        for name, share in {"train": 0.6, "val": 0.1, "test": 0.3}.items():
            allowed = 4 * math.sqrt(share * (1 - share) * total) + largest
            assert abs(counts[name] - share * total) <= allowed


def it_meets_the_proportions_to_the_image_without_groups() -> None:
    result = split(manifest(plain(100, "ab") + plain(40, "c")), options())
    assert result.summary["counts"] == {
        "train": {"a": 70, "b": 70, "c": 28},
        "val": {"a": 15, "b": 15, "c": 6},
        "test": {"a": 15, "b": 15, "c": 6},
    }


def it_meets_the_total_with_many_small_classes() -> None:
    many = [{"path": f"{k:03}/{n}.jpg", "label": f"{k:03}"} for k in range(60) for n in range(10)]
    counts = split(manifest(many), options(minimum_per_class=1)).summary["counts"]
    assert {name: sum(counts[name].values()) for name in SPLITS} == {"train": 420, "val": 90, "test": 90}


def it_takes_fifty_thousand_rows_in_seconds() -> None:
    images = pa.concat_tables([random_manifest(2000, seed, dirty=False) for seed in range(25)])
    names = [f"{n}/{path}" for n, path in enumerate(images["path"].to_pylist())]
    images = images.set_column(0, images.schema.field(0), pa.array(names))
    started = time.process_time()
    split(images, options(rebalance="oversample"))
    assert time.process_time() - started < 10


def it_puts_a_unit_larger_than_a_quota_into_train() -> None:
    rows = plain(60, "ab")
    for row in rows[:20]:
        row["group"] = "one patient"
    table = by_path(split(manifest(rows), options()).table)
    assert {table[row["path"]]["split"] for row in rows[:20]} == {"train"}


def it_stratifies_a_unit_of_several_classes_by_its_rarest() -> None:
    rows = plain(200, "a") + plain(30, "b")
    for number in range(30):
        rows[number]["group"] = rows[200 + number]["group"] = f"patient {number}"
    counts = split(manifest(rows), options()).summary["counts"]
    assert [counts[name]["b"] for name in SPLITS] == [22, 4, 4]
    assert [counts[name]["a"] for name in SPLITS] == [140, 30, 30]


# --- growth ------------------------------------------------------------------------------------------------------


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


# --- the given test split ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def it_keeps_the_given_test_split_and_takes_what_leaks_into_it_out_of_train(seed: int) -> None:
    images = random_manifest(1500, seed)
    result = split(images, options(keep_given_test=True))
    given = {row["content_id"] for row in images.to_pylist() if row["given_split"] == "test"}
    for key, row in rows_of(result.table).items():
        if key in given:
            assert row["split"] == "test" or row["reason"] in (REASON_PROBLEM, REASON_NO_LABEL, REASON_CONTRADICTION)
        else:
            assert row["split"] != "test"
    assert result.summary["left_out"][REASON_LEAK] == result.summary["leaks_removed"]["contents"] > 0
    counts = {name: sum(result.summary["counts"][name].values()) for name in SPLITS}
    assert abs(counts["val"] / (counts["val"] + counts["train"]) - 0.15 / 0.85) < 0.03
    assert "given val split" in result.summary["notes"][0]


def it_says_when_there_is_no_given_test_split_to_keep() -> None:
    with pytest.raises(DataError, match=r"no usable image lies in a given test split \(given splits: none\)"):
        split(manifest(plain(40)), options(keep_given_test=True))


def it_lets_the_given_test_split_win_over_a_parent() -> None:
    images = random_manifest(800, 3)
    parent = split(images, options()).table
    kept = split(images, options(keep_given_test=True), parent).table
    given = {row["content_id"] for row in images.to_pylist() if row["given_split"] == "test"}
    assert all(row["split"] in ("test", OUT) for key, row in rows_of(kept).items() if key in given)
    assert crossing(images, kept) == set()


# --- counts ------------------------------------------------------------------------------------------------------


def it_takes_counts_and_leaves_the_surplus_out() -> None:
    result = split(manifest(plain(100)), options(counts={"train": 60, "val": 20, "test": 30}))
    assert {name: sum(result.summary["counts"][name].values()) for name in SPLITS} == {
        "train": 60,
        "val": 20,
        "test": 30,
    }
    assert result.summary["left_out"] == {REASON_SURPLUS: 90}


def it_gives_train_the_rest_where_counts_do_not_name_it() -> None:
    counts = split(manifest(plain(100)), options(counts={"val": 20, "test": 30})).summary["counts"]
    assert sum(counts["train"].values()) == 150


def it_refuses_counts_beyond_what_there_is() -> None:
    with pytest.raises(DataError, match="210 images in all; 200 usable images can be placed"):
        split(manifest(plain(100)), options(counts={"train": 150, "val": 30, "test": 30}))


# --- what is out -------------------------------------------------------------------------------------------------


def it_takes_contradicting_labels_out_of_every_split_and_names_the_paths() -> None:
    rows = [*plain(40), {"path": "a/x.jpg", "label": "a"}]
    rows.append({"path": "b/x.jpg", "label": "b", "content_id": content("a/x.jpg")})
    result = split(manifest(rows), options())
    assert by_path(result.table)["a/x.jpg"]["reason"] == REASON_CONTRADICTION
    assert result.summary["contradictions"] == {
        "contents": 1,
        "files": 2,
        "examples": [[{"path": "a/x.jpg", "label": "a"}, {"path": "b/x.jpg", "label": "b"}]],
    }


def it_keeps_one_row_for_copies_with_the_smallest_path() -> None:
    rows = [*plain(40), {"path": "0/copy.jpg", "label": "a", "content_id": content("a/0000.jpg")}]
    found = by_path(split(manifest(rows), options()).table)
    assert found["0/copy.jpg"]["split"] in SPLITS
    assert "a/0000.jpg" not in found


def it_takes_the_label_of_a_copy_that_has_one() -> None:
    rows = [*plain(40), {"path": "nolabel.jpg", "content_id": content("a/0000.jpg")}]
    assert by_path(split(manifest(rows), options()).table)["a/0000.jpg"]["label"] == "a"


def it_reports_near_duplicates_with_different_labels_and_keeps_them_together() -> None:
    rows = plain(40)
    rows[0]["duplicate_cluster"] = rows[40]["duplicate_cluster"] = "c"
    result = split(manifest(rows), options())
    found = by_path(result.table)
    assert found["a/0000.jpg"]["split"] == found["b/0000.jpg"]["split"] != OUT
    mixed = result.summary["near_duplicates_with_different_labels"]
    assert (mixed["clusters"], mixed["contents"]) == (1, 2)


def it_lets_broken_files_tie_nothing() -> None:
    empty = content("")
    rows = plain(40)
    for number, row in enumerate(rows):
        row["group"] = f"p{number}"
    broken = [
        {"path": f"a/e{n}.jpg", "label": "ab"[n % 2], "content_id": empty, "group": f"p{n}", "problem": "empty"}
        for n in range(80)
    ]
    result = split(manifest([*rows, *broken]), options())
    assert result.summary["largest"]["images"] == 1
    assert result.summary["left_out"] == {REASON_PROBLEM: 1}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The manifest has no images"),
        ([{"path": f"{n}.jpg"} for n in range(400)], "The manifest has 400 images and no labels"),
        (
            [{"path": f"a/{n}.jpg", "label": "a", "problem": ("empty", "truncated: x")[n % 3 == 0]} for n in range(12)],
            r"All 12 images of the manifest have a problem \(empty 8, truncated 4\)",
        ),
        (plain(120, "a"), "All 120 usable images have the label 'a'"),
        (plain(5), "too few usable images to fill every split: 'a' has 5, 'b' has 5. Expected at least 9"),
        (plain(40, "a") + plain(2, "b"), "to fill every split: 'b' has 2"),
        (plain(40, group="all of them"), "too few images of some classes: .*form 1 units that stay whole"),
        (
            [
                {"path": f"{label}/{n}.jpg", "label": label, "content_id": content(n)}
                for label in "ab"
                for n in range(9)
            ],
            r"None of the 9 distinct images can be used \(contradicting labels 9\)",
        ),
    ],
)
def it_says_in_one_sentence_why_images_cannot_be_split(rows: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        split(manifest(rows), options())


def it_refuses_two_versions_at_once() -> None:
    both = pa.concat_tables([manifest(plain(40)), manifest(plain(40, "cd"), "v2")])
    with pytest.raises(DataError, match="one version"):
        split(both, options())


def it_splits_names_that_are_ugly() -> None:
    rows = [{"path": f"{label}/ñ 雪 {n} (2).jpg", "label": label} for label in ("A b", "é", "👻") for n in range(20)]
    assert split(manifest(rows), options()).summary["counts"]["train"] == {"A b": 14, "é": 14, "👻": 14}


# --- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"proportions": {"train": 0.5, "val": 0.2, "test": 0.2}}, "sum to 0.9; expected 1"),
        ({"proportions": {"train": 1.0, "val": 0.0, "test": 0.0}}, "proportions.train"),
        ({"proportions": {"train": float("nan"), "val": 0.5, "test": 0.5}}, "proportions.train"),
        ({"proportions": {"train": 0.8, "val": 0.2, "test": 0}}, "proportions.test is 0"),
        ({"proportions": {}, "counts": {"val": 1, "test": 1}}, "exclude each other"),
        ({"counts": {"val": 10}}, "counts.test is missing"),
        ({"counts": {"val": 10, "test": 5}, "keep_given_test": True}, "leave counts.test out"),
        ({"counts": {"val": 0, "test": 5}}, "counts.val"),
        ({"rebalance": "smote"}, "rebalance"),
        ({"seed": -1}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"minimum_per_class": 0}, "minimum_per_class"),
        ({"sede": 1}, "sede"),
        ([], "options"),
    ],
)
def it_names_what_is_wrong_with_options(wrong: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        checked_options(wrong)


def it_names_every_wrong_option_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"rebalance: .*seed: .*minimum_per_class: "):
        checked_options({"rebalance": "smote", "seed": -1, "minimum_per_class": 0})


# --- leaks between given splits ----------------------------------------------------------------------------------


def it_reports_leaks_between_the_given_splits() -> None:
    rows = [
        {"path": "train/a/1.jpg", "content_id": content("same"), "given_split": "train"},
        {"path": "test/a/1.jpg", "content_id": content("same"), "given_split": "test"},
        {"path": "train/a/2.jpg", "given_split": "train", "duplicate_cluster": "near", "group": "p"},
        {"path": "val/a/2.jpg", "given_split": "val", "duplicate_cluster": "near"},
        {"path": "test/a/3.jpg", "given_split": "test", "group": "p"},
        {"path": "train/a/4.jpg", "content_id": content("copy"), "given_split": "train", "duplicate_cluster": "own"},
        {"path": "test/a/4.jpg", "content_id": content("copy"), "given_split": "test", "duplicate_cluster": "own"},
        {"path": "free.jpg", "content_id": content("same")},
    ]
    found = leaks_between_given_splits(manifest(rows))
    assert found["given_splits"] == {"train": 3, "val": 1, "test": 3}
    assert (found["identical"]["sets"], found["identical"]["between"]["train/test"]) == (2, 2)
    assert (found["near_duplicates"]["sets"], found["near_duplicates"]["between"]["train/val"]) == (1, 1)
    assert found["groups"]["examples"] == [{"key": "p", "paths": ["test/a/3.jpg", "train/a/2.jpg"]}]


def it_reports_no_leaks_without_given_splits() -> None:
    found = leaks_between_given_splits(manifest(plain(3)))
    assert [found[kind]["sets"] for kind in ("identical", "near_duplicates", "groups")] == [0, 0, 0]
    assert leaks_between_given_splits(manifest([]))["identical"]["files"] == 0
