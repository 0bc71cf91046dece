"""Reconciling: late, replaced and withdrawn images are noticed by listing, and nothing else is classified again."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.contract import predictions_table
from darkroom.errors import InvalidRequest
from darkroom.inbox import inputs_fingerprint
from darkroom.reconcile import days_before, find_changes, requests_of_changes
from darkroom.tables import Table
from tests.packages import champion_of
from tests.suites.classified import NOON, put, written

pytestmark = pytest.mark.unit

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]


@pytest.fixture
def two_dates(lake):
    """Two classified dates of three images, and a third that is empty."""
    for dt in DATES[:2]:
        for name in ("a.png", "b.png", "ward/c.png", "_SUCCESS"):
            put(lake, dt, name)
        written(lake, dt)
    return lake


def found(lake, **options):
    return [(one.dt, one.kind, one.late, one.replaced, one.withdrawn) for one in find_changes(lake, DATES, **options)]


def it_finds_nothing_where_nothing_changed(two_dates):
    put(two_dates, DATES[0], "_late_marker")
    put(two_dates, DATES[0], "d.png.part")
    put(two_dates, "2025-12-31", "before-the-look-back.png")
    assert found(two_dates) == []


def it_notices_late_replaced_and_withdrawn_images(two_dates):
    put(two_dates, DATES[0], "late/d.png")
    put(two_dates, DATES[0], "a.png", b"y")
    two_dates.delete(f"inbox/clinic/dt={DATES[0]}/ward/c.png")
    assert found(two_dates) == [(DATES[0], "changed", ["late/d.png"], ["a.png"], ["ward/c.png"])]
    (change,) = find_changes(two_dates, DATES)
    assert change.what == "1 late (late/d.png); 1 replaced (a.png); 1 withdrawn (ward/c.png)"
    assert (change.images, change.queued, change.package_id) == (3, True, "aa")


def it_names_only_the_first_of_many(two_dates):
    for number in range(40):
        put(two_dates, DATES[1], f"late{number:02}.png")
    (change,) = find_changes(two_dates, DATES)
    assert change.what == "40 late (late00.png, late01.png, late02.png, late03.png, late04.png, ...)"


def it_queues_a_date_that_nobody_classified(two_dates):
    put(two_dates, DATES[2], "a.png")
    assert found(two_dates) == [(DATES[2], "never classified", [], [], [])]


def it_queues_a_date_that_was_not_complete(two_dates):
    partition = {"dt": DATES[2], "feed": "clinic", "origin": "batch"}
    note = {"inputs": inputs_fingerprint([]), "summary": {"package_id": "aa"}}
    Table(two_dates, predictions_table("clinic")).commit(partition, [], note)
    assert found(two_dates) == []
    put(two_dates, DATES[2], "a.png")
    assert found(two_dates) == [(DATES[2], "changed", ["a.png"], [], [])]


def it_does_not_take_a_cleaned_inbox_for_withdrawn_images(two_dates, caplog):
    for blob in list(two_dates.list(f"inbox/clinic/dt={DATES[0]}")):
        two_dates.delete(blob.path)
    assert found(two_dates) == [(DATES[0], "emptied", [], [], ["a.png", "b.png", "ward/c.png"])]
    assert requests_of_changes(two_dates, find_changes(two_dates, DATES), NOON) == []
    assert f"clinic on {DATES[0]} is emptied and stays as it is: 3 withdrawn" in caplog.text


def it_tells_of_a_restored_result_and_leaves_it(two_dates):
    written(two_dates, DATES[0], restored={"version": 0})
    assert found(two_dates) == []
    put(two_dates, DATES[0], "late.png")
    assert found(two_dates) == [(DATES[0], "held", ["late.png"], [], [])]
    assert requests_of_changes(two_dates, find_changes(two_dates, DATES), NOON) == []


def it_knows_rows_without_etags_by_their_sizes(two_dates):
    table = Table(two_dates, predictions_table("clinic"))
    partition = {"dt": DATES[0], "feed": "clinic", "origin": "batch"}
    rows = table.read(partition)
    at = rows.schema.get_field_index("etag")
    table.commit(partition, rows.set_column(at, "etag", pa.nulls(3, pa.string())), {"summary": {}})
    put(two_dates, DATES[0], "a.png", b"longer")
    assert found(two_dates) == [(DATES[0], "changed", [], ["a.png"], [])]


def it_leaves_out_a_feed_that_cannot_be_read_unless_it_was_asked_for(two_dates, caplog):
    two_dates.write("inbox/ward/_feed.json", b"no json")
    assert found(two_dates) == []
    assert "_feed.json" in caplog.text
    with pytest.raises(InvalidRequest, match=r"_feed\.json"):
        found(two_dates, feeds=["ward"])
    with pytest.raises(InvalidRequest, match="no feed other"):
        found(two_dates, feeds=["other"])


def it_asks_the_model_that_wrote_the_date(two_dates):
    champion = champion_of(two_dates, "clinic")
    champions.append(two_dates, "clinic", champion, now=datetime(2025, 12, 1, tzinfo=UTC))
    newer = champion_of(two_dates, "clinic", threshold=0.9) | {"version": "2"}
    champions.append(two_dates, "clinic", newer, now=datetime(2026, 1, 2, 12, tzinfo=UTC))
    written(two_dates, DATES[1], package_id=champion["package_id"])
    for dt in DATES[1:]:
        put(two_dates, dt, "late.png")
    changes = find_changes(two_dates, DATES)
    requests = requests_of_changes(two_dates, changes, NOON)
    told = [(one["dt"], one["champion"]["version"], one["mode"], one["note"]) for one in requests]
    assert told == [(DATES[1], "1", "reconcile", ""), (DATES[2], "2", "reconcile", "")]
    champions.withdraw(two_dates, "clinic", 1, "wrong labels", now=NOON)
    first = requests_of_changes(two_dates, changes, NOON)[0]
    assert (first["champion"]["version"], "version 1 was withdrawn" in first["note"]) == ("2", True)


def it_looks_at_the_days_before_the_runs_own():
    assert days_before(date(2026, 3, 2), 3) == ["2026-02-27", "2026-02-28", "2026-03-01"]


def it_has_nothing_to_do_in_an_empty_lake(lake):
    assert find_changes(lake, DATES) == []
