"""Folds: groups and duplicate clusters intact, every class everywhere, rebalanced as the split was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from darkroom.contract import OUT, REASON_UNDERSAMPLED, SPLITS_SCHEMA
from darkroom.errors import DataError
from darkroom.splitting import SplitOptions
from training.experiments.folds import make_folds, share_of_test
from training.units import units_of

pytestmark = pytest.mark.unit


def split_of(labels: list[str], groups: list[str | None] | None = None, **columns: Any) -> pd.DataFrame:
    """Images c000, c001, ... of a split: two in three in train, one in six in val and in test each."""
    parts = [("train", "train", "val", "train", "train", "test")[number % 6] for number in range(len(labels))]
    rows = pd.DataFrame(
        {
            "content_id": [f"c{number:03}" for number in range(len(labels))],
            "path": [f"{number}.png" for number in range(len(labels))],
            "label": labels,
            "given_split": None,
            "group": groups or None,
            "duplicate_cluster": None,
            "split": parts,
            "reason": None,
            "weight": 1.0,
            "copies": np.int32(1),
            "split_id": "s1",
        }
    )
    return rows.assign(**columns)


def folds_of(rows: pd.DataFrame, folds: int = 5, rebalance: str = "class_weights", seed: int = 0) -> list[pd.DataFrame]:
    made, _ = make_folds(rows, rows, folds, SplitOptions.model_validate({"rebalance": rebalance, "seed": seed}))
    assert all(table.schema == SPLITS_SCHEMA for table in made)
    return [table.to_pandas() for table in made]


def it_tests_every_image_once_and_keeps_units_in_one_part() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(["a", "b", "c"], 300, p=[0.6, 0.3, 0.1]).tolist()
    groups = [f"p{number}" if number % 3 else None for number in rng.integers(0, 90, 300)]
    clusters = [f"d{number}" if number < 40 else None for number in rng.integers(0, 200, 300)]
    rows = split_of(labels, groups, duplicate_cluster=clusters)
    units = dict(zip(rows["content_id"], units_of(rows["content_id"].tolist(), rows), strict=True))
    tested: list[str] = []
    for fold in folds_of(rows):
        assert sorted(fold["content_id"]) == sorted(rows["content_id"])
        assert fold.assign(unit=fold["content_id"].map(units)).groupby("unit")["split"].nunique().max() == 1
        assert fold.groupby("split")["label"].nunique().tolist() == [3, 3, 3]
        tested += fold.loc[fold["split"] == "test", "content_id"].tolist()
    assert sorted(tested) == sorted(rows["content_id"])


def it_ties_what_only_the_manifest_ties() -> None:
    rows = split_of(["a", "b"] * 10)
    manifest = pd.DataFrame(
        {"content_id": ["c000", "c001", "c001", "c002"], "group": ["p", "p", "q", "q"], "duplicate_cluster": None}
    )
    units = units_of(rows["content_id"].tolist(), rows, manifest)
    assert units[0] == units[1] == units[2]
    assert len(set(units)) == 18


def it_stratifies_and_gives_val_the_share_that_the_split_gave_it() -> None:
    for fold in folds_of(split_of(["a"] * 450 + ["b"] * 150)):
        sizes = fold["split"].value_counts()
        assert sizes["test"] == 120
        assert sizes["val"] == pytest.approx(480 / 5, abs=2)  # a fifth of train and val, as in the split
        for part in ("train", "val", "test"):
            assert (fold.loc[fold["split"] == part, "label"] == "b").mean() == pytest.approx(0.25, abs=0.02)


def it_does_not_depend_on_the_order_of_rows_and_changes_with_the_seed() -> None:
    rows = split_of(["a", "b"] * 60)
    first, again = folds_of(rows), folds_of(rows.sample(frac=1, random_state=1))
    for one, other in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert any(not one.equals(other) for one, other in zip(first, folds_of(rows, seed=1), strict=True))


def it_recomputes_the_weights_of_each_fold() -> None:
    for fold in folds_of(split_of(["a"] * 200 + ["b"] * 100, weight=7.0)):
        train, rest = fold[fold["split"] == "train"], fold[fold["split"] != "train"]
        assert train.groupby("label")["weight"].sum().nunique() == 1
        assert (rest["weight"] == 1).all()
    for fold in folds_of(split_of(["a"] * 200 + ["b"] * 100), rebalance="oversample"):
        assert fold[fold["split"] == "train"].groupby("label")["copies"].sum().nunique() == 1


def it_takes_back_what_undersampling_left_out_and_undersamples_train_alone() -> None:
    rows = split_of(["a"] * 200 + ["b"] * 100)
    gone = (rows.index < 60) & (rows["split"] == "train")
    rows.loc[gone, ["split", "reason"]] = [OUT, REASON_UNDERSAMPLED]
    broken = rows.index == 299
    rows.loc[broken, ["split", "reason"]] = [OUT, "problem"]
    folds = folds_of(rows, rebalance="undersample")
    assert sum((fold["split"] == "test").sum() for fold in folds) == 299
    for fold in folds:
        counts = fold.groupby(["split", "label"]).size()
        assert counts["train", "a"] == counts["train", "b"]
        assert counts["test", "a"] > 1.5 * counts["test", "b"]


def it_says_how_many_are_measured_for_each_that_is_learned_from() -> None:
    made, _ = make_folds(split_of(["a", "b"] * 50), split_of(["a", "b"] * 50), 5, SplitOptions.model_validate({}))
    assert share_of_test(made[0]) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (split_of(["a"] * 40 + ["b"] * 4), r"\(b: 4\)"),
        (split_of(["a"] * 40 + ["b"] * 20, [None] * 40 + ["p", "q", "r", "s"] * 5), r"\(b: 4\)"),
        (split_of(["a"] * 40), "at least two"),
    ],
    ids=["few images", "few groups", "one class"],
)
def it_refuses_what_folds_cannot_hold(rows: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        folds_of(rows)
