"""Rebalancing touches train only, and says what it did."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from darkroom.contract import OUT, REASON_UNDERSAMPLED
from darkroom.splitting import SplitResult, checked_options, split
from tests.suites.manifests import manifest, random_manifest, shuffled

pytestmark = pytest.mark.unit

IMAGES = random_manifest(900, 7)


def rebalanced(method: str, seed: int = 0) -> SplitResult:
    return split(IMAGES, checked_options({"rebalance": method, "seed": seed}))


def train(result: SplitResult) -> list[dict[str, Any]]:
    return [row for row in result.table.to_pylist() if row["split"] == "train"]


@pytest.mark.parametrize("method", ["none", "class_weights", "oversample", "undersample"])
def it_leaves_val_and_test_as_they_are(method: str) -> None:
    before = {row["content_id"]: row for row in rebalanced("none").table.drop(["split_id"]).to_pylist()}
    for row in rebalanced(method).table.drop(["split_id"]).to_pylist():
        if before[row["content_id"]]["split"] in ("val", "test"):
            assert row == before[row["content_id"]]
            assert (row["weight"], row["copies"]) == (1.0, 1)


def it_weighs_classes_so_that_each_counts_the_same() -> None:
    result = rebalanced("class_weights")
    total = Counter[str]()
    for row in train(result):
        total[row["label"]] += row["weight"]
    assert total["NORMAL"] == pytest.approx(total["PNEUMONIA"])
    assert sum(total.values()) == pytest.approx(len(train(result)))
    assert result.summary["sampling"]["weights"]["NORMAL"] > 1


def it_repeats_rows_until_classes_are_even() -> None:
    result = rebalanced("oversample")
    seen = Counter[str]()
    for row in train(result):
        seen[row["label"]] += row["copies"]
    assert seen["NORMAL"] == seen["PNEUMONIA"] == result.summary["sampling"]["before"]["PNEUMONIA"]
    copies = {row["copies"] for row in train(result) if row["label"] == "NORMAL"}
    assert max(copies) - min(copies) <= 1
    assert result.summary["sampling"]["after"] == dict(seen) == result.summary["counts_after_rebalance"]["train"]


def it_takes_rows_out_until_classes_are_even() -> None:
    result = rebalanced("undersample")
    kept = Counter(row["label"] for row in train(result))
    assert kept["NORMAL"] == kept["PNEUMONIA"] == result.summary["sampling"]["before"]["NORMAL"]
    out = [row for row in result.table.to_pylist() if row["reason"] == REASON_UNDERSAMPLED]
    assert {row["split"] for row in out} == {OUT}
    assert len(out) == result.summary["left_out"][REASON_UNDERSAMPLED]


@pytest.mark.parametrize("method", ["oversample", "undersample"])
def it_samples_by_hash_and_seed_alone(method: str) -> None:
    options = checked_options({"rebalance": method, "seed": 3})
    assert split(shuffled(IMAGES, 1), options).table.equals(split(IMAGES, options).table)
    chosen = {
        seed: {row["content_id"] for row in train(rebalanced(method, seed)) if row["copies"] > 1 or method[0] == "u"}
        for seed in (1, 2)
    }
    assert chosen[1] != chosen[2]


def it_changes_nothing_where_classes_are_even() -> None:
    rows = [{"path": f"{label}/{n}.jpg", "label": label} for label in "ab" for n in range(40)]
    for method in ("class_weights", "oversample", "undersample"):
        table = split(manifest(rows), checked_options({"rebalance": method})).table
        assert set(table["weight"].to_pylist()) == {1.0}
        assert set(table["copies"].to_pylist()) == {1}
        assert OUT not in table["split"].to_pylist()
