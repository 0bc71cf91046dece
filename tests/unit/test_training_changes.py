"""What is told of a challenger: its data, config and code against the champion's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.codedigest import code_digest
from darkroom.contract import images_table, splits_table
from darkroom.gate import Verdict
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import champion_of, write_dataset
from training.deciding.changes import changes_since
from training.deciding.gate_page import gate_page

pytestmark = pytest.mark.unit

OPTIONS = {"kind": "small_cnn", "model": {"filters": [8, 16], "dropout": 0.2}, "epochs": 4}


def champion_with(lake: Storage, **details: Any) -> champions.Champion:
    entry = champion_of(lake) | {"details": {"options": OPTIONS, "code_digest": code_digest(), **details}}
    return champions.append(lake, "lamps", entry, now=datetime(2026, 3, 1, tzinfo=UTC))


def grown(lake: Storage) -> dict[str, str]:
    """A second version: one image less, one labelled otherwise, two more, one of them in test."""
    images, splits = Table(lake, images_table("lamps")), Table(lake, splits_table("lamps"))
    rows = images.read({"version": "v1"}).to_pylist()
    parts = splits.read({"split_id": "s1"}).to_pylist()
    gone, other = rows.pop()["content_id"], rows[0]
    other["label"] = "DARK" if other["label"] == "BRIGHT" else "BRIGHT"
    parts = [row for row in parts if row["content_id"] != gone]
    for number, part in enumerate(("train", "test")):
        content_id = f"{number}" * 64
        rows.append({**rows[1], "content_id": content_id, "path": f"new/{number}.png"})
        parts.append({**parts[1], "content_id": content_id, "path": f"new/{number}.png", "split": part})
    images.commit(
        {"version": "v2"}, pa.Table.from_pylist([r | {"version": "v2"} for r in rows], images.spec.schema), {}
    )
    split = pa.Table.from_pylist([r | {"split_id": "s2"} for r in parts], splits.spec.schema)
    splits.commit({"split_id": "s2"}, split, {"version": "v2"})
    return {"dataset": "lamps", "version": "v2", "split_id": "s2"}


def it_counts_what_changed_in_the_data(lake: Storage) -> None:
    write_dataset(lake, "lamps", [])
    changes = changes_since(lake, grown(lake), {"options": OPTIONS}, champion_with(lake))
    assert changes["data"] == {
        "version": ["v1", "v2"],
        "split_id": ["s1", "s2"],
        "images_added": 2,
        "images_removed": 1,
        "labels_changed": 1,
        "train_added": 1,
        "test_added": 1,
    }
    assert changes["since"] == "version 1, promoted 2026-03-01 00:00 UTC"


def it_names_each_option_that_differs(lake: Storage) -> None:
    plan = write_dataset(lake, "lamps", [])
    options = {"kind": "small_cnn", "model": {"filters": [8, 32], "dropout": 0.2}, "seed": 3}
    changes = changes_since(lake, plan, {"options": options}, champion_with(lake, code_digest="another"))
    assert changes["config"] == [["epochs", 4, None], ["model.filters", [8, 16], [8, 32]], ["seed", None, 3]]
    assert changes["data"] == {}
    assert changes["code"] is True
    page = gate_page(Verdict(True, ("good",)), "lamps", {"config": "cnn"}, "version 1", changes)
    assert "model.filters" in page
    assert "the same version and split" in page


def it_says_nothing_without_a_champion(lake: Storage) -> None:
    assert changes_since(lake, write_dataset(lake, "lamps", []), {}, None) == {}


def it_compares_no_images_of_different_datasets(lake: Storage) -> None:
    champion = champion_with(lake)
    plan = {"dataset": "torches", "version": "v", "split_id": "s"}
    assert changes_since(lake, plan, {"options": OPTIONS}, champion)["data"] == {"dataset": ["lamps", "torches"]}
