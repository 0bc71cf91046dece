"""Which champion classifies a date: newest, as_of, a named one, or the one that wrote the date before."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from darkroom import champions
from darkroom.champion_choice import champion_that_wrote, choose_champion, mode_of_run
from darkroom.date_requests import BatchRequest
from darkroom.errors import InvalidRequest, NoChampion
from darkroom.requests import parse_request

pytestmark = pytest.mark.unit


def entry(package_id, version):
    names = ("run_id", "dataset", "dataset_version", "split_id", "transform_hash")
    return dict.fromkeys(names, "x") | {
        "package": f"packages/lamps/{package_id}.zip",
        "package_id": package_id,
        "version": version,
        "details": {},
    }


@pytest.fixture
def three(lake):
    """Champions of 1, 10 and 20 March: versions 4, 7 and 9."""
    for day, package_id, version in ((1, "aa", "4"), (10, "bb", "7"), (20, "cc", "9")):
        champions.append(lake, "lamps", entry(package_id, version), now=datetime(2026, 3, day, 12, tzinfo=UTC))
    return lake


def chosen(lake, mode, dt, version=""):
    return choose_champion(lake, "lamps", mode, dt, version).champion.version


@pytest.mark.parametrize(
    ("asked", "run_type", "cleared", "mode"),
    [
        ("auto", "scheduled", 0, "newest"),
        ("auto", "scheduled", None, "newest"),
        ("auto", "scheduled", 1, "as_of"),  # a scheduled date that somebody runs again, perhaps months later
        ("auto", "backfill", 0, "as_of"),
        ("auto", "manual", 0, "as_of"),
        ("newest", "backfill", 0, "newest"),
        ("as_of", "scheduled", 0, "as_of"),
        ("rescore", "manual", 0, "rescore"),
    ],
)
def it_takes_todays_champion_on_schedule_and_the_dates_otherwise(asked, run_type, cleared, mode):
    assert mode_of_run(asked, run_type, cleared) == mode


def it_takes_the_champion_of_the_end_of_the_date(three):
    assert [chosen(three, "as_of", f"2026-03-{day:02}") for day in (1, 9, 10, 19, 20, 31)] == list("447799")
    assert chosen(three, "newest", "2026-03-05") == "9"
    assert chosen(three, "rescore", "2026-03-05") == "9"
    assert choose_champion(three, "lamps", "as_of", "2026-03-10").note == ""


def it_takes_the_first_champion_before_there_was_one_and_says_so(three):
    choice = choose_champion(three, "lamps", "as_of", "2026-02-28")
    assert choice.champion.version == "4"
    assert "had no champion yet at the end of 2026-02-28: its first is taken, version 4 of 2026-03-01" in choice.note
    champions.withdraw(three, "lamps", 1, "wrong labels", now=datetime(2026, 3, 30, tzinfo=UTC))
    assert choose_champion(three, "lamps", "as_of", "2026-03-05").champion.version == "7"


def it_takes_a_version_by_its_number_or_by_its_entry(three):
    assert chosen(three, "rescore", "2026-03-05", "7") == "7"
    assert chosen(three, "rescore", "2026-03-05", "entry:1") == "4"


@pytest.mark.parametrize("version", ["8", "entry:4", "entry:", "seven", "-1", "4 "])
def it_refuses_an_unknown_version_and_names_the_known_ones(three, version):
    with pytest.raises(InvalidRequest, match=r"was never its champion.*4 \(entry:1\), 7 \(entry:2\), 9 \(entry:3\)"):
        choose_champion(three, "lamps", "rescore", "2026-03-05", version)


@pytest.mark.parametrize("version", ["7", "entry:2"])
def it_refuses_a_withdrawn_version(three, version):
    champions.withdraw(three, "lamps", 2, "wrong labels", now=datetime(2026, 3, 30, tzinfo=UTC))
    with pytest.raises(InvalidRequest, match=r"was withdrawn.*4 \(entry:1\), 9 \(entry:3\)"):
        choose_champion(three, "lamps", "rescore", "2026-03-05", version)


def it_says_in_one_sentence_where_no_champion_stands(lake):
    for mode in ("newest", "as_of", "rescore"):
        with pytest.raises(NoChampion, match="no champion yet"):
            choose_champion(lake, "lamps", mode, "2026-03-05")
    champions.append(lake, "lamps", entry("aa", "4"), now=datetime(2026, 3, 1, tzinfo=UTC))
    champions.withdraw(lake, "lamps", 1, "wrong labels", now=datetime(2026, 3, 2, tzinfo=UTC))
    with pytest.raises(NoChampion):
        choose_champion(lake, "lamps", "as_of", "2026-03-05")


def it_gives_late_images_to_the_model_that_wrote_the_date(three):
    assert champion_that_wrote(three, "lamps", "2026-03-25", "aa").champion.version == "4"
    assert champion_that_wrote(three, "lamps", "2026-03-12", None).champion.version == "7"
    champions.withdraw(three, "lamps", 1, "wrong labels", now=datetime(2026, 3, 30, tzinfo=UTC))
    choice = champion_that_wrote(three, "lamps", "2026-03-12", "aa")
    assert choice.champion.version == "7"
    assert "version 4 was withdrawn: the whole date goes to version 7" in choice.note
    assert "is not in the champion history" in champion_that_wrote(three, "lamps", "2026-03-12", "zz").note


@pytest.mark.parametrize("mode", ["auto", "newest", "as_of"])
def it_refuses_a_version_without_rescore(mode):
    with pytest.raises(InvalidRequest, match="a version goes with the mode rescore"):
        parse_request(BatchRequest, {"mode": mode, "version": "3"})
