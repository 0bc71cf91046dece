"""One date of batch inference: which feeds, which models, and how long to wait for images."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from darkroom.errors import InvalidRequest, NoChampion
from darkroom.inference import bound_model, feeds_of_date, summary_of_date, wait_for_inbox
from darkroom.settings import get_settings

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
    assert wait_for_inbox(lake, "ward-a", "2026-01-01", clock=clock, sleep=clock.sleep)
    assert clock.now == NOON


@pytest.mark.usefixtures("waiting")
def it_waits_until_an_inbox_has_settled(lake):
    lake.write("inbox/ward-a/dt=2026-01-01/1.png", b"x")
    os.utime(lake.uri("inbox/ward-a/dt=2026-01-01/1.png"), (NOON.timestamp(), NOON.timestamp()))
    clock = Clock(NOON)
    assert wait_for_inbox(lake, "ward-a", "2026-01-01", clock=clock, sleep=clock.sleep)
    assert 60 <= (clock.now - NOON).total_seconds() <= 120


@pytest.mark.usefixtures("waiting")
def it_stops_waiting_for_an_inbox_that_stays_empty(lake):
    clock = Clock(NOON)
    assert not wait_for_inbox(lake, "ward-a", "2026-01-01", clock=clock, sleep=clock.sleep)
    assert 600 <= (clock.now - NOON).total_seconds() <= 660


def it_sums_up_a_date_over_its_feeds():
    results = [
        {"feed": "a", "model": "m", "images": 3, "problems": 1, "changed": True},
        {"feed": "b", "model": "m", "images": 0, "problems": 0, "changed": False},
    ]
    expected = {"dt": "2026-01-01", "feeds": ["a", "b"], "models": ["m"], "images": 3, "problems": 1, "changed": True}
    assert summary_of_date("2026-01-01", results) == expected


def it_says_that_a_date_without_images_has_zero_rows(caplog):
    assert summary_of_date("2026-01-01", [])["images"] == 0
    assert "Zero rows" in caplog.text
