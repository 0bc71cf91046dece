"""One date of batch inference: which feeds, which models, and how long to wait for images."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from darkroom import champions
from darkroom.codedigest import code_digest
from darkroom.errors import InvalidRequest, NoChampion
from darkroom.inference import (
    bound_model,
    feeds_of_date,
    may_ask_for_retraining,
    summary_of_date,
    wait_for_inboxes,
)
from darkroom.settings import get_settings
from tests.packages import champion_of

pytestmark = pytest.mark.unit

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    """A clock that only moves when somebody sleeps, so that waiting takes no time."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.each()

    def each(self):
        """What happens in the world while somebody sleeps."""


def wait(lake, clock, *feeds):
    """Whether each feed was incomplete when the wait ended."""
    requests = [{"feed": feed, "dt": "2026-01-01"} for feed in feeds]
    done = wait_for_inboxes(lake, requests, clock=clock, sleep=clock.sleep)
    return {request["feed"]: request["incomplete"] for request in done}


@pytest.fixture
def waiting(monkeypatch):
    monkeypatch.setenv("DARKROOM_INBOX_WAIT_SECONDS", "600")
    monkeypatch.setenv("DARKROOM_INBOX_SETTLE_SECONDS", "60")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def it_has_nothing_to_do_without_feeds(lake):
    assert feeds_of_date(lake, {}, "2026-01-01", NOON) == []


def it_names_the_feeds_it_knows_when_asked_for_another(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    with pytest.raises(InvalidRequest, match=r"no feed ward-b.*ward-a"):
        feeds_of_date(lake, {"feeds": ["ward-b"]}, "2026-01-01", NOON)


def it_says_in_one_sentence_that_there_is_no_champion(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    with pytest.raises(NoChampion, match="ward-a"):
        feeds_of_date(lake, {}, "2026-01-01", NOON)


def with_champion(lake, model):
    champions.append(lake, model, champion_of(lake, model), now=NOON)


def it_leaves_out_what_cannot_be_classified_and_says_so_once(lake, caplog):
    with_champion(lake, "ward-a")
    for feed in ("ward-a", "ward-b", "Ward C"):
        lake.write(f"inbox/{feed}/dt=2026-01-01/1.png", b"x")
    lake.write("inbox/ward-d/_feed.json", b"no json")
    (request,) = feeds_of_date(lake, {}, "2026-01-01", NOON)
    assert request["feed"] == "ward-a"
    assert request["left_out"] == ["Ward C", "ward-b", "ward-d"]
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    for said in ("Ward C: The name", "ward-b: The model 'ward-b' has no champion", "ward-d: ", "_feed.json"):
        assert said in warning.getMessage()


def it_refuses_a_feed_without_a_champion_that_was_asked_for_by_name(lake):
    with_champion(lake, "ward-a")
    for feed in ("ward-a", "ward-b"):
        lake.write(f"inbox/{feed}/dt=2026-01-01/1.png", b"x")
    with pytest.raises(NoChampion, match="ward-b"):
        feeds_of_date(lake, {"feeds": ["ward-a", "ward-b"]}, "2026-01-01", NOON)
    (request,) = feeds_of_date(lake, {"feeds": ["ward-a"]}, "2026-01-01", NOON)
    assert request["left_out"] == []


def it_names_every_feed_where_none_can_be_classified(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    lake.write("inbox/ward-b/dt=2026-01-01/1.png", b"x")
    with pytest.raises(NoChampion, match=r"No feed .* ward-a: .* ward-b: "):
        feeds_of_date(lake, {}, "2026-01-01", NOON)
    lake.write("inbox/Ward C/dt=2026-01-01/1.png", b"x")
    with pytest.raises(InvalidRequest, match="Ward C: "):
        feeds_of_date(lake, {}, "2026-01-01", NOON)


def it_refuses_a_run_without_a_date(lake):
    with pytest.raises(InvalidRequest, match="no partition key"):
        feeds_of_date(lake, {}, None, NOON)


def it_binds_a_feed_to_the_model_that_its_file_names(lake):
    lake.write("inbox/ward-a/_feed.json", b'{"model": "chest"}')
    assert bound_model(lake, "ward-a") == "chest"
    assert bound_model(lake, "ward-b") == "ward-b"


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"chest"])
def it_refuses_a_binding_that_cannot_be_read(lake, content):
    lake.write("inbox/ward-a/_feed.json", content)
    with pytest.raises(InvalidRequest, match=r"_feed\.json"):
        bound_model(lake, "ward-a")


@pytest.mark.usefixtures("waiting")
def it_does_not_wait_for_an_inbox_that_is_marked_complete(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/_SUCCESS", b"")
    clock = Clock(NOON)
    assert wait(lake, clock, "ward-a") == {"ward-a": False}
    assert clock.now == NOON


@pytest.mark.usefixtures("waiting")
def it_waits_until_an_inbox_has_settled(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    os.utime(lake.uri("inbox/ward-a/dt=2026-01-01/1.png"), (NOON.timestamp(), NOON.timestamp()))
    clock = Clock(NOON)
    assert wait(lake, clock, "ward-a") == {"ward-a": False}
    assert 60 <= (clock.now - NOON).total_seconds() <= 120


@pytest.mark.usefixtures("waiting")
def it_stops_waiting_for_an_inbox_that_stays_empty(lake):
    clock = Clock(NOON)
    assert wait(lake, clock, "ward-a") == {"ward-a": True}
    assert 600 <= (clock.now - NOON).total_seconds() <= 660


@pytest.mark.usefixtures("waiting")
def it_waits_once_for_all_feeds_and_tells_which_were_not_complete(lake, caplog):
    def still_arriving(path):
        lake.write(path, b"x")
        os.utime(lake.uri(path), (clock.now.timestamp(), clock.now.timestamp()))

    clock = Clock(NOON)
    lake.write("inbox/ward-b/dt=2026-01-01/_SUCCESS", b"")
    clock.each = lambda: still_arriving("inbox/ward-c/dt=2026-01-01/1.png")
    assert wait(lake, clock, "ward-a", "ward-b", "ward-c") == {"ward-a": True, "ward-b": False, "ward-c": True}
    assert (clock.now - NOON).total_seconds() <= 660
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [error.split(" ")[0] for error in errors] == [f"inbox/ward-{one}/dt=2026-01-01" for one in "ac"]


def it_sums_up_a_date_over_its_feeds():
    results = [
        {
            "feed": "a",
            "model": "m",
            "images": 3,
            "problems": 1,
            "left_out": ["c"],
            "incomplete": False,
            "changed": True,
            "mode": "newest",
            "told": [],
        },
        {
            "feed": "b",
            "model": "m",
            "images": 0,
            "problems": 0,
            "left_out": ["c"],
            "incomplete": True,
            "changed": False,
            "mode": "newest",
            "told": ["its rows stay."],
        },
    ]
    expected = {"dt": "2026-01-01", "feeds": ["a", "b"], "models": ["m"], "images": 3, "problems": 1, "changed": True}
    expected |= {"modes": ["newest"], "told": ["b: its rows stay."]}
    assert summary_of_date("2026-01-01", results) == {**expected, "left_out": ["c"], "incomplete": ["b"]}


def it_says_that_a_date_without_images_has_zero_rows(caplog):
    assert summary_of_date("2026-01-01", [])["images"] == 0
    assert "Zero rows" in caplog.text


@pytest.mark.parametrize(
    ("event", "may"),
    [
        ({"run_type": "scheduled", "rerun": False}, True),
        ({"run_type": "scheduled", "rerun": True}, False),
        ({"run_type": "backfill", "rerun": False}, False),
        ({"run_type": "manual", "rerun": False}, False),
        ({"run_type": "reconcile"}, False),
        ({"run_type": "operator_triggered"}, False),
        ({}, False),
    ],
)
def it_lets_only_the_first_run_of_a_scheduled_date_ask_for_retraining(event, may):
    assert may_ask_for_retraining(event) is may


def it_names_the_mode_and_the_code_that_planned_in_each_request(lake):
    with_champion(lake, "ward-a")
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    (scheduled,) = feeds_of_date(lake, {}, "2026-01-01", NOON, "scheduled", 0)
    (again,) = feeds_of_date(lake, {}, "2026-01-01", NOON, "scheduled", 1)
    assert (scheduled["mode"], scheduled["note"], scheduled["planned_by"]) == ("newest", "", code_digest())
    assert again["mode"] == "as_of"
    assert "had no champion yet at the end of 2026-01-01" in again["note"]


def it_refuses_a_version_for_feeds_of_several_models(lake):
    for feed in ("ward-a", "ward-b"):
        with_champion(lake, feed)
        lake.write(f"inbox/{feed}/dt=2026-01-01/1.png", b"x")
    fields = {"mode": "rescore", "version": "1"}
    with pytest.raises(InvalidRequest, match="several models: ward-a, ward-b"):
        feeds_of_date(lake, fields, "2026-01-01", NOON)
    (request,) = feeds_of_date(lake, fields | {"feeds": ["ward-b"]}, "2026-01-01", NOON)
    assert request["champion"]["version"] == "1"
    with pytest.raises(InvalidRequest, match="was never its champion"):
        feeds_of_date(lake, fields | {"version": "8", "feeds": ["ward-b"]}, "2026-01-01", NOON)
