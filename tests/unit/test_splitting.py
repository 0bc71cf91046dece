"""The split: disjoint, units whole, in proportion; the given test split; counts."""

from __future__ import annotations

import math
import time

import pyarrow as pa
import pytest

from darkroom.contract import (
    OUT,
    REASON_CONTRADICTION,
    REASON_LEAK,
    REASON_NO_LABEL,
    REASON_PROBLEM,
    REASON_SURPLUS,
    SPLITS,
    SPLITS_SCHEMA,
)
from darkroom.errors import DataError
from darkroom.splitting import split
from tests.suites.manifests import manifest, random_manifest, shuffled
from tests.suites.splits import by_path, crossing, options, plain, rows_of

pytestmark = pytest.mark.unit


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
