"""How good predictions were, by the labels that feedback gives to their images."""

from __future__ import annotations

import json

import pytest

from darkroom import champions
from darkroom.contract import PENDING, TRAIN, images_table, splits_table
from darkroom.errors import InvalidRequest
from darkroom.feedback import Choice, accept, check
from darkroom.feedback.performance import performance
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import champion_of
from tests.suites.feedback import DATASET, DAY, NOW, by_line, classified, drop, lines, prepared, squares

pytestmark = pytest.mark.unit

AT = "2026-03-03T12:00Z"
NEXT = "2026-03-03"


@pytest.fixture
def ids(lake: Storage) -> list[str]:
    """60 images classified right on a day, by the champion's package."""
    prepared(lake)
    entry = champion_of(lake, DATASET)
    champions.append(lake, DATASET, entry, now=NOW)
    return classified(lake, squares(60), package=entry["package"])


def truth(number: int) -> str:
    return "DARK" if number % 2 else "BRIGHT"


def it_measures_the_predictions_of_labelled_images(lake: Storage, ids: list[str]) -> None:
    rows = [(one, truth(number), "ada", AT) for number, one in enumerate(ids[:50])]
    for number in (0, 2, 4):  # three of 25 bright ones were dark in truth
        rows[number] = (rows[number][0], "DARK", "ada", AT)
    drop(lake, "a.csv", lines(*rows))
    check(lake, DATASET, now=NOW)
    found = performance(lake, DATASET)
    (package,) = found["packages"]
    assert package["images"] == 50
    assert package["value"] == pytest.approx((22 / 22 + 25 / 28) / 2)
    low, high = package["interval"]
    assert low < package["value"] < high
    assert "on 50 labelled images" in package["said"]
    assert (found["from"], found["to"], found["predictions"]) == (DAY, DAY, 60)
    assert json.loads(lake.read(found["report"]))["packages"][0]["value"] == package["value"]
    before = lake.read(found["report"])
    assert performance(lake, DATASET, DAY, DAY)["packages"] == found["packages"]
    assert lake.read(found["report"]) == before


def it_takes_accepted_labels_before_pending_ones(lake: Storage, ids: list[str]) -> None:
    drop(lake, "a.csv", lines(*((one, truth(number), "ada", AT) for number, one in enumerate(ids[:30]))))
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    drop(lake, "b.csv", lines(*((one, "DARK", "ada", "2026-03-04") for one in ids[:30])))
    check(lake, DATASET, now=NOW)
    assert by_line(lake)["b.csv", 2].state == PENDING
    (package,) = performance(lake, DATASET)["packages"]
    assert package["value"] == 1.0


def it_leaves_out_what_was_trained_on_and_new_classes(lake: Storage, ids: list[str]) -> None:
    splits = Table(lake, splits_table(DATASET)).read({"split_id": "s1"}).to_pylist()
    images = {row["content_id"]: row for row in Table(lake, images_table(DATASET)).read({"version": "v1"}).to_pylist()}
    seen = [row["content_id"] for row in splits if row["split"] == TRAIN][:5]
    pictures = [(f"{one[:8]}.png", lake.read(images[one]["uri"]), "DARK") for one in seen]
    package = champions.resolve_champion(lake, DATASET)["package"]
    classified(lake, pictures, dt=NEXT, package=package)
    drop(
        lake,
        "a.csv",
        lines(
            *((one, truth(number), "ada", AT) for number, one in enumerate(ids[:30])),
            *((one, "DARK", "ada", AT) for one in seen),
            (ids[40], "GREY", "ada", AT),
        ),
    )
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, Choice((by_line(lake)["a.csv", 37].row_id,), new_classes=("GREY",)), by="eve", now=NOW)
    (found,) = performance(lake, DATASET)["packages"]
    assert (found["images"], found["trained_on"], found["labels_it_does_not_know"]) == (30, 5, 1)
    (found,) = performance(lake, DATASET, NEXT, NEXT)["packages"]
    assert (found["images"], found["value"], found["trained_on"]) == (0, None, 5)
    assert "nothing is said" in found["said"]


def it_counts_an_image_once_and_each_package_by_itself(lake: Storage, ids: list[str]) -> None:
    classified(lake, squares(60), dt="2026-03-04", package=champions.resolve_champion(lake, DATASET)["package"])
    other = champion_of(lake, DATASET, seed=1)["package"]
    wrong = [(name, data, "BRIGHT" if label == "DARK" else "DARK") for name, data, label in squares(60)]
    classified(lake, wrong, dt=NEXT, package=other)
    drop(lake, "a.csv", lines(*((one, truth(number), "ada", AT) for number, one in enumerate(ids))))
    check(lake, DATASET, now=NOW)
    found = {each["package"]: each for each in performance(lake, DATASET)["packages"]}
    assert len(found) == 2
    assert {each["images"] for each in found.values()} == {60}
    assert found[other]["value"] == 0.0


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [("yesterday", None, "is none"), ("2026-3-2", None, "is none"), ("2027-01-01", None, "classified no images")],
)
def it_refuses_dates_that_are_none(lake: Storage, ids: list[str], first: str, last: str | None, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        performance(lake, DATASET, first, last)


def it_says_when_nothing_was_classified(lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match="classified no images from any date to any date"):
        performance(lake, DATASET)
