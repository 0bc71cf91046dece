"""Accepted feedback in the next dataset version, in its split and at the gate; without any, nothing changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.contract import (
    OUT,
    RAW_INDEX_SCHEMA,
    REASON_LEAK,
    TEST,
    TRAIN,
    images_table,
    raw_blob,
)
from darkroom.feedback import Choice, Overlay, accept, add, apply, check, reject, stored
from darkroom.feedback.overlay import Applied
from darkroom.gate import GatePolicy, Scores, decide
from darkroom.sources.layout import LayoutOptions, describe_all
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from tests.packages import CLASSES, champion_of, png
from tests.suites.feedback import DATASET, DAY, NOW, classified
from tests.suites.prepared import LAYOUT, fetched, prepare, splits_of
from training.deciding.scoring import champion_scores

pytestmark = pytest.mark.unit


def picture(number: int) -> bytes:
    return png(90 if number % 2 else 165, number)


def label_of(number: int) -> str:
    return "DARK" if number % 2 else "BRIGHT"


def scores_on(lake: Storage, prepared: dict[str, Any], name: str) -> Scores:
    """What a model that knows every true label says about a split's test images."""
    test = [row for row in splits_of(lake, prepared).values() if row["split"] == TEST]
    truth = [row["label"] for row in test]
    return Scores(name, [row["content_id"] for row in test], truth, truth, [0.9] * len(test))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A dataset, its champion, then feedback on it: four test labels, and five images of an inbox."""
    lake = open_storage(str(tmp_path_factory.mktemp("feedback") / "lake"))
    index = fetched(lake, [(f"{label_of(n)}/p{n}_{n}.png", picture(n)) for n in range(200)])
    before = prepare(lake, index)
    names = {"dataset_version": before["request"]["version"], "split_id": before["request"]["split_id"]}
    champion = champions.append(lake, DATASET, champion_of(lake, DATASET, **names), now=NOW)
    parts = splits_of(lake, before)
    dark = sorted(key for key, row in parts.items() if row["split"] == TEST and row["label"] == "DARK")[:4]
    patients = {part: next(row["group"] for row in parts.values() if row["split"] == part) for part in (TRAIN, TEST)}
    files = ["p901_a.png", "p902_b.png", f"{patients[TRAIN]}_new.png", f"{patients[TEST]}_new.png", "p903_c.png"]
    new = classified(lake, [(name, picture(5000 + k), "DARK") for k, name in enumerate(files)])
    for image_id in dark:
        add(lake, DATASET, image_id, "BRIGHT", author="ada", at=NOW)
    for k, image_id in enumerate(new):
        add(lake, DATASET, image_id, label_of(5000 + k), author="ada", at=NOW)
    check(lake, DATASET, now=NOW)
    pending = prepare(lake, index)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    for name in files:
        lake.delete(f"inbox/{DATASET}/dt={DAY}/{name}")
    return {
        "lake": lake, "index": index, "before": before, "pending": pending, "after": prepare(lake, index),
        "champion": champion, "dark": dark, "new": dict(zip(files, new, strict=True)), "of": patients,
    }  # fmt: skip


def it_changes_no_version_before_it_is_accepted(world: dict[str, Any]) -> None:
    assert world["pending"]["request"] == world["before"]["request"]
    assert not world["pending"]["changed"]
    assert world["after"]["changed"]
    assert world["after"]["request"]["version"] != world["before"]["request"]["version"]


def it_joins_the_next_version_with_labels_and_bytes(world: dict[str, Any]) -> None:
    lake = world["lake"]
    version = {"version": world["after"]["request"]["version"]}
    rows = {row["content_id"]: row for row in Table(lake, images_table(DATASET)).read(version).to_pylist()}
    assert len(rows) == 205
    assert {rows[image_id]["label"] for image_id in world["dark"]} == {"BRIGHT"}
    for k, (name, image_id) in enumerate(world["new"].items()):
        row = rows[image_id]
        assert (row["label"], row["path"]) == (label_of(5000 + k), f".feedback/{DATASET}/{DAY}/{name}")
        assert (row["given_split"], row["group"], row["problem"]) == (None, name.split("_")[0], None)
        assert lake.read(row["uri"]) == picture(5000 + k)
    assert world["after"]["feedback"] == {"corrected": 4, "added": 5, "table_version": 1}


def it_moves_nobody_and_ties_no_train_to_test(world: dict[str, Any]) -> None:
    before, after = (splits_of(world["lake"], world[name]) for name in ("before", "after"))
    assert world["after"]["split"]["parent"] == world["before"]["request"]["split_id"]
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    for part, patient in world["of"].items():
        assert after[world["new"][f"{patient}_new.png"]]["split"] == part
    assert Counter(row["split"] for row in after.values())[OUT] == 0


def it_leaves_out_an_image_that_would_tie_train_to_test(world: dict[str, Any]) -> None:
    lake = world["lake"]
    parts = splits_of(lake, world["after"])
    tied = next(row for row in parts.values() if row["split"] == TEST and row["group"] != world["of"][TEST])
    data = lake.read(raw_blob(DATASET, tied["content_id"])) + b"\0"  # the same picture in another file
    (image_id,) = classified(lake, [(f"{world['of'][TRAIN]}_again.png", data, "DARK")], dt="2026-03-09")
    add(lake, DATASET, image_id, tied["label"], author="bob", at=NOW)
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    now = prepare(lake, world["index"])
    row = splits_of(lake, now)[image_id]
    assert (row["split"], row["reason"]) == (OUT, REASON_LEAK)
    mine = next(one.row_id for one in stored(lake, DATASET) if one.image_id == image_id)
    reject(lake, DATASET, Choice((mine,)), "an experiment", by="eve", now=NOW)
    back = prepare(lake, world["index"])
    assert back["request"]["version"] == world["after"]["request"]["version"]
    assert not back["changed"]


def it_scores_the_champion_on_the_corrected_labels(world: dict[str, Any]) -> None:
    lake, champion = world["lake"], world["champion"]
    old, new = (scores_on(lake, world[name], "The challenger") for name in ("before", "after"))
    assert old.test_set != new.test_set
    value = {}
    for name, mine in (("before", old), ("after", new)):
        rival = champion_scores(lake, world[name]["request"], champion, mine)
        assert rival.problem is None
        assert rival.test_set == mine.test_set
        figures = decide(mine, rival, CLASSES, GatePolicy(slices=())).figures
        assert (figures["test_set"], figures["images"]) == (mine.test_set, len(mine.truth))
        value[name] = figures["champion_value"]
    # It calls every square right that it was made for; four dark ones of the test images count as bright now.
    bright = sum(label == "BRIGHT" for label in new.truth)
    assert value == {"before": 1.0, "after": pytest.approx((1 + (bright - 4) / bright) / 2)}


def it_compares_nothing_across_different_test_sets(world: dict[str, Any]) -> None:
    lake = world["lake"]
    old, new = (scores_on(lake, world[name], "A model") for name in ("before", "after"))
    rival = champion_scores(lake, world["before"]["request"], world["champion"], old)
    verdict = decide(new, rival, CLASSES, GatePolicy(slices=()))
    assert not verdict.promote
    assert "not the same ones" in verdict.reasons[0]
    assert verdict.figures == {}
    assert set(old.content_ids) <= set(new.content_ids)  # nobody left the test set


def overlay_on(index: pa.Table, overlay: Overlay) -> Applied:
    layout = LayoutOptions.model_validate(LAYOUT)
    return apply(index, describe_all(index["path"].to_pylist(), layout), overlay, DATASET, layout)


def it_says_nothing_changed_where_feedback_confirms_the_labels() -> None:
    rows = [{"path": f"a/p{k}_.png", "content_id": f"{k:064x}", "size_bytes": 1, "uri": f"u{k}"} for k in range(3)]
    index = pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA)
    known = rows[1]["content_id"]
    done = overlay_on(index, Overlay({known: "a"}, {known: (".feedback/x", 1)}, 7))
    assert done.index is index
    assert (done.corrected, done.added) == (0, 0)
    changed = overlay_on(index, Overlay({known: "b"}, {}, 8))
    assert changed.index == index
    assert [label for label, _, _ in changed.described] == ["a", "b", "a"]


def it_corrects_every_file_of_a_content() -> None:
    same = "0" * 64
    rows = [{"path": f"{name}/1.png", "content_id": same, "size_bytes": 1, "uri": "u"} for name in ("a", "b")]
    done = overlay_on(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), Overlay({same: "b"}, {}, 1))
    assert [label for label, _, _ in done.described] == ["b", "b"]
    assert done.corrected == 1
