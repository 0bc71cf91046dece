"""What a split leaves out, what it cannot split, and what it reports: each in one sentence."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from darkroom.contract import (
    OUT,
    REASON_CONTRADICTION,
    REASON_PROBLEM,
    SPLITS,
)
from darkroom.errors import DataError, InvalidRequest
from darkroom.splitting import checked_options, leaks_between_given_splits, split
from tests.suites.manifests import content, manifest
from tests.suites.splits import by_path, options, plain

pytestmark = pytest.mark.unit


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
