"""A date that is met again: by other code, by a dry run, by reconcile, and after a restore."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from darkroom import champions, codedigest
from darkroom.contract import prediction_reports, predictions_table
from darkroom.inference import feeds_of_date
from darkroom.reconcile import days_before, find_changes, requests_of_changes
from darkroom.settings import get_settings
from darkroom.tables import Table
from spark_apps import arrivals
from spark_apps.jobs.predict import classify
from spark_apps.preview import preview
from tests.packages import champion_of, png
from tests.suites.lakes import darkroom, digests

pytestmark = pytest.mark.unit

DAY = "2026-01-02"
PARTITION = {"dt": DAY, "feed": "clinic", "origin": "batch"}
NIGHT = datetime(2026, 1, 3, 1, tzinfo=UTC)


@pytest.fixture
def clinic(lake, monkeypatch):
    """A feed with a champion and one date of eight images; the lake of the settings."""
    monkeypatch.setenv("DARKROOM_LAKE", lake.root)
    get_settings.cache_clear()
    champions.append(lake, "clinic", champion_of(lake, "clinic"), now=datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(8):
        lake.write(f"inbox/clinic/dt={DAY}/{number}.png", png(165 if number % 3 else 90, number))
    yield lake
    get_settings.cache_clear()


def promote(lake, moment=datetime(2026, 2, 1, tzinfo=UTC)):
    champions.append(lake, "clinic", champion_of(lake, "clinic", threshold=0.9) | {"version": "2"}, now=moment)


def asked(lake, run_type="scheduled", **fields: Any):
    (request,) = feeds_of_date(lake, fields, DAY, NIGHT, run_type)
    return request


def versions(lake):
    return set(Table(lake, predictions_table("clinic")).read(PARTITION)["model_version"].to_pylist())


@pytest.mark.usefixtures("spark")
def it_says_that_the_rows_were_written_by_other_code(clinic, monkeypatch, caplog):
    first = classify(asked(clinic))
    assert first["told"] == []
    for module in (arrivals, codedigest):
        monkeypatch.setattr(module, "code_digest", lambda: "f" * 16)
    again = classify(asked(clinic))
    assert again["changed"] is True
    (planned, written) = again["told"]
    assert "was planned by code" in planned
    assert written.startswith("the rows that were there were written by code ")
    assert written.endswith(f", now it is {'f' * 16}.")
    assert f"clinic on {DAY}: {written}" in caplog.text
    assert f"now it is {'f' * 16}" in clinic.read(f"{prediction_reports('clinic', DAY, 'clinic')}/index.html").decode()
    assert Table(clinic, predictions_table("clinic")).last_commit(PARTITION)["code_digest"] == "f" * 16


@pytest.mark.usefixtures("spark")
def it_redoes_the_past_exactly_in_a_backfill_and_rescores_only_when_asked(clinic):
    classify(asked(clinic))
    promote(clinic)
    for run_type in ("backfill", "manual"):
        assert classify(asked(clinic, run_type))["changed"] is False
    assert versions(clinic) == {"1"}
    assert classify(asked(clinic, "backfill", mode="rescore"))["mode"] == "rescore"
    assert versions(clinic) == {"2"}
    assert classify(asked(clinic, "backfill", mode="rescore", version="entry:1"))["changed"] is True
    assert versions(clinic) == {"1"}


@pytest.mark.usefixtures("spark")
def it_previews_what_a_run_would_do_and_writes_nothing(clinic):
    before = digests(clinic)
    (row,) = preview(clinic, [asked(clinic)])
    assert digests(clinic) == before
    assert (row["would"], row["images"], row["model_version"], row["why"]) == ("write", 8, "1", "no rows yet")
    classify(asked(clinic))
    promote(clinic)
    clinic.write(f"inbox/clinic/dt={DAY}/late.png", png(90, 99))
    before = digests(clinic)
    (row,) = preview(clinic, [asked(clinic, mode="rescore")])
    assert row["why"] == "model version 1 before, 2 now; other images"
    clinic.delete(f"inbox/clinic/dt={DAY}/late.png")
    (row,) = preview(clinic, [asked(clinic, "backfill")])
    assert (row["would"], row["why"]) == ("skip", "nothing changed")
    assert digests(clinic) == {path: digest for path, digest in before.items() if not path.endswith("late.png")}


@pytest.mark.usefixtures("spark")
def it_classifies_a_late_image_with_the_model_of_its_neighbours(clinic):
    classify(asked(clinic))
    promote(clinic)
    clinic.write(f"inbox/clinic/dt={DAY}/late.png", png(90, 99))
    clinic.delete(f"inbox/clinic/dt={DAY}/0.png")
    dates = days_before(date(2026, 1, 5), 4)
    (request,) = requests_of_changes(clinic, find_changes(clinic, dates), NIGHT)
    result = classify(request)
    assert (result["images"], result["mode"], result["changed"]) == (8, "reconcile", True)
    rows = Table(clinic, predictions_table("clinic")).read(PARTITION)
    assert rows["path"].to_pylist() == [*(f"{number}.png" for number in range(1, 8)), "late.png"]
    assert versions(clinic) == {"1"}
    assert find_changes(clinic, dates) == []


@pytest.mark.usefixtures("spark")
def it_never_moves_the_champion_whatever_runs(clinic):
    promote(clinic)
    before = champions.history(clinic, "clinic")
    for run_type, fields in (
        ("scheduled", {}),
        ("backfill", {}),
        ("backfill", {"mode": "rescore"}),
        ("manual", {"mode": "rescore", "version": "1"}),
    ):
        classify(asked(clinic, run_type, **fields))
    clinic.write(f"inbox/clinic/dt={DAY}/late.png", png(90, 99))
    for request in requests_of_changes(clinic, find_changes(clinic, [DAY]), NIGHT):
        classify(request)
    assert champions.history(clinic, "clinic") == before


@pytest.mark.usefixtures("spark")
def it_leaves_a_restored_date_alone_says_so_and_replaces_it_only_when_asked(clinic, caplog):
    classify(asked(clinic))
    promote(clinic)
    classify(asked(clinic, mode="rescore"))
    said = darkroom("partition", "restore", "clinic", f"dt={DAY}", "feed=clinic", DARKROOM_LAKE=clinic.root)
    assert "has the 8 rows of version 0 again, as version 2. Version 1 can be restored in the same way." in said
    assert (versions(clinic), find_changes(clinic, [DAY])) == ({"1"}, [])
    page = clinic.read(f"{prediction_reports('clinic', DAY, 'clinic')}/index.html").decode()
    assert "clinic 1" in page
    clinic.write(f"inbox/clinic/dt={DAY}/late.png", png(90, 99))
    for run_type, fields in (("scheduled", {}), ("backfill", {}), ("manual", {"mode": "newest"})):
        kept = classify(asked(clinic, run_type, **fields))
        assert (kept["changed"], kept["images"], kept["model_version"]) == (False, 8, "1")
        assert "restored by hand from version 0 and stay; only the mode rescore" in kept["told"][0]
    assert versions(clinic) == {"1"}
    assert [change.kind for change in find_changes(clinic, [DAY])] == ["held"]
    assert preview(clinic, [asked(clinic)])[0]["why"].startswith("restored by hand; its rows were restored")
    again = classify(asked(clinic, mode="rescore"))
    assert (again["changed"], again["images"], again["told"]) == (True, 9, [])
    assert versions(clinic) == {"2"}
    assert find_changes(clinic, [DAY]) == []
    history = darkroom("partition", "history", "clinic", f"dt={DAY}", "feed=clinic", DARKROOM_LAKE=clinic.root)
    assert [line.split("  ")[0] for line in history.splitlines()] == [f"version {number}" for number in (3, 2, 1, 0)]
    assert "8 rows  clinic version 1, newest; code" in history.splitlines()[1]
    assert history.splitlines()[1].endswith("restored from version 0")
    assert "0 missing or damaged, 0 left over" in darkroom("lake", "check", clinic.root)
