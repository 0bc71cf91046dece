"""The split that a source gave, with the leaks in it: who is where, and what leaks."""

from __future__ import annotations

import pyarrow as pa
import pytest

from darkroom.contract import IMAGES_SCHEMA, REASON_LEAK, images_table, splits_table
from darkroom.errors import DataError
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.kinds import FITTED
from tests.packages import png
from tests.suites.feedback import DATASET
from tests.suites.prepared import fetched, prepare
from tests.suites.training import World, world
from training import flow, tracking
from training.comparing.leaks import read_given_split, right_of

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture


def images(parts: tuple[str, ...] = ("train/", "test/")) -> list[tuple[str, bytes]]:
    """Two classes in two parts; the first image of each class's test lies in train, too, and so does a patient."""
    found = []
    for number in range(48):
        label, gray = ("BRIGHT", 190) if number % 2 else ("DARK", 50)
        part = parts[number % 8 >= 6 and len(parts) > 1]
        found.append((f"{part}{label}/p{number}_{number}.png", png(gray, seed=number)))
    if len(parts) > 1:
        found += [(f"train/{path.split('/')[1]}/p9{path[-6:]}", data) for path, data in found if "test" in path][:2]
        found.append(("train/DARK/p14_900.png", png(50, seed=900)))  # p14 is in test
    return found


def it_puts_every_image_where_the_source_put_it(lake: Storage) -> None:
    prepared = prepare(lake, fetched(lake, images()))
    request = prepared["request"]
    table, leaks = read_given_split(lake, DATASET, request["version"], request["split_id"])
    rows = table.to_pylist()
    assert {row["given_split"] for row in rows} == {"train", "test"}
    assert all(row["split"] == "test" for row in rows if row["given_split"] == "test")
    assert all(row["split"] in ("train", "val") for row in rows if row["given_split"] == "train")
    assert {row["label"] for row in rows if row["split"] == "val"} <= {"BRIGHT", "DARK"}
    assert leaks["images"] == 12
    assert leaks["identical"] == 2
    assert leaks["groups"] == 1
    train = [row for row in rows if row["split"] == "train"]
    by_class = {label: sum(row["weight"] for row in train if row["label"] == label) for label in ("BRIGHT", "DARK")}
    assert by_class["BRIGHT"] == pytest.approx(by_class["DARK"])
    assert table == read_given_split(lake, DATASET, request["version"], request["split_id"])[0]


def it_tells_right_answers_of_images_that_leak_from_others(lake: Storage) -> None:
    request = prepare(lake, fetched(lake, images()))["request"]
    table, _ = read_given_split(lake, DATASET, request["version"], request["split_id"])
    rows = table.to_pandas()
    test, seen = rows[rows["split"] == "test"], set(rows[rows["split"] != "test"]["content_id"])
    patients = set(rows[rows["split"] != "test"]["group"])
    leak = test["content_id"].isin(seen) | test["group"].isin(patients)
    predicted = test["label"].where(leak, "NEITHER")
    columns = {"content_id": test["content_id"], "truth": test["label"], "predicted": predicted}
    assert right_of(table, pa.table({name: list(values) for name, values in columns.items()})) == {
        "leak": 1.0,
        "others": 0.0,
    }


def it_takes_back_what_a_split_that_keeps_the_given_test_left_out_as_leaking(lake: Storage) -> None:
    asked = prepare(lake, fetched(lake, images()))["request"]
    mixed = read_given_split(lake, DATASET, asked["version"], asked["split_id"])
    chosen = {"dataset": DATASET, "version": asked["version"]}
    done = split_dataset(lake, {**chosen, "options": {"keep_given_test": True, "seed": 1}})
    left_out = Table(lake, splits_table(DATASET)).read({"split_id": done["split_id"]}).to_pandas()
    assert (left_out["reason"] == REASON_LEAK).any()
    table, leaks = read_given_split(lake, DATASET, asked["version"], done["split_id"])
    assert leaks == mixed[1]
    assert sorted(table["path"].to_pylist()) == sorted(mixed[0]["path"].to_pylist())


def it_is_refused_before_a_training_where_no_test_split_was_given(world: World) -> None:
    world.config("mean", "sharpness: 20")
    images = Table(world.lake, images_table("lamps"))
    rows = images.read({"version": world.request["version"]}).to_pandas().assign(given_split=None)
    images.commit({"version": world.request["version"]}, pa.Table.from_pandas(rows, schema=IMAGES_SCHEMA), {})
    with pytest.raises(DataError, match="gave no test split"):
        world.plan("mean", with_leaks=True)


def it_says_that_no_test_split_was_given(lake: Storage) -> None:
    prepared = prepare(lake, fetched(lake, images(("",))))
    request = prepared["request"]
    with pytest.raises(DataError, match="gave no test split"):
        read_given_split(lake, DATASET, request["version"], request["split_id"])


def it_is_measured_once_and_shown_beside_the_split_without_leaks(world: World) -> None:
    world.config("mean", "sharpness: 20")
    plain = world.plan("mean")
    evaluation = flow.evaluate(world.lake, {"plan": plain, "results": [flow.train(world.lake, plain["configs"][0])]})
    assert "With leaks and without" not in world.lake.read(evaluation["page"]).decode()
    for fits in (2, 2):  # the one of the split itself, and that of the given one
        plan = world.plan("mean", with_leaks=True)
        result = flow.train(world.lake, plan["configs"][0])
        assert len(FITTED) == fits
        assert result["package_id"] == evaluation["challenger"]["package_id"]
        assert result["given"]["leaks"] == {"images": 40, "identical": 0, "near": 0, "groups": 0}
        assert result["given"]["metrics"]["balanced_accuracy"] > 0.95
        right = result["given"]["right"]
        assert right["leak"] is None
        assert right["others"] == pytest.approx(result["given"]["metrics"]["accuracy"])
    logged = tracking.open_client().get_run(result["run_id"]).data.metrics
    assert logged["given_test_balanced_accuracy"] == result["given"]["metrics"]["balanced_accuracy"]
    page = flow.evaluate(world.lake, {"plan": plan, "results": [result]})["page"]
    assert "With leaks and without" in world.lake.read(page).decode()
