"""A date looked at for drift: its report and page, one alert until it changes, and who may ask for training."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.contract import drift_reports, inbox, predictions_table
from darkroom.errors import InvalidRequest, MachineryError
from darkroom.model import load_package
from darkroom.monitoring import SHOWN_DAYS, days_before, monitor_date, retraining_of
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.predict import classify_files
from tests.packages import png
from tests.unit.test_drift_packages import packaged

pytestmark = pytest.mark.unit

FEED = "clinic"


@pytest.fixture
def package(lake: Storage) -> str:
    return str(packaged(lake).path)


def classify(lake: Storage, package: str, dt: str, darker: float = 0, count: int = 60) -> None:
    """What a date of batch inference leaves: images in the inbox and their rows."""
    table, folder = Table(lake, predictions_table("lamps")), inbox(FEED, dt)
    seed = 50_000 + 1000 * int(dt[-2:])
    files = {f"{folder}/{n}.png": png((165 if n % 2 else 90) - darker, seed + n) for n in range(count)}
    for path, data in files.items():
        lake.write(path, data)
    rows = classify_files(lake, load_package(lake, package), [(path, len(data)) for path, data in files.items()])
    constants: dict[str, Any] = dict.fromkeys(
        ("model", "model_version", "run_id", "transform_hash", "dataset_version"), "x"
    )
    constants["predicted_at"] = datetime(2026, 3, 1, tzinfo=UTC)
    partition = {"dt": dt, "feed": FEED, "origin": "batch"}
    whole = [{**row, **constants, **partition, "path": row["path"].removeprefix(f"{folder}/")} for row in rows]
    content = pa.Table.from_pylist(whole, schema=table.spec.schema)
    table.commit(partition, content, {"package": package, "summary": {"model_version": "1"}})


def monitored(lake: Storage, dt: str) -> dict[str, Any]:
    return monitor_date(lake, "lamps", FEED, dt)


def it_tells_of_an_alarm_once_and_again_when_it_changes(lake: Storage, package: str) -> None:
    days = {"2026-03-01": 0, "2026-03-02": 30, "2026-03-03": 30, "2026-03-04": 0, "2026-03-05": 30}
    found = []
    for dt, darker in days.items():
        classify(lake, package, dt, darker)
        found.append(monitored(lake, dt))
        json.dumps(found[-1], allow_nan=False)  # it goes through XCom
    assert [day["alarm"] for day in found] == [False, True, True, False, True]
    assert [day["alert"] for day in found] == [False, True, False, False, True]
    assert "brightness" in found[1]["unusual"]
    assert monitored(lake, "2026-03-03") == found[2]  # a rerun tells no one again


def it_draws_a_page_of_its_own(lake: Storage, package: str) -> None:
    for dt in ("2026-03-01", "2026-03-02"):
        classify(lake, package, dt, 30)
        page = lake.read(monitored(lake, dt)["page"]).decode()
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/jpeg") == 12
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "An alarm." in page


def it_says_nothing_of_a_day_that_is_too_small(lake: Storage, package: str) -> None:
    for dt, count in (("2026-03-01", 0), ("2026-03-02", 5)):
        classify(lake, package, dt, 100, count)
        found = monitored(lake, dt)
        assert (found["state"], found["alarm"], found["alert"], found["p"]) == ("too few images", False, False, None)
        assert "nothing is said of this day" in lake.read(found["page"]).decode()


def it_looks_only_at_days_of_the_same_package(lake: Storage, package: str) -> None:
    classify(lake, package, "2026-03-01", 30)
    assert monitored(lake, "2026-03-01")["alert"]
    path = f"{drift_reports('lamps', FEED)}/2026-03-01.json"
    lake.write(path, json.dumps(json.loads(lake.read(path)) | {"package": "packages/lamps/other.zip"}).encode())
    classify(lake, package, "2026-03-02", 30)
    assert monitored(lake, "2026-03-02")["alert"]


def it_wants_a_date_that_was_classified(lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match="was not classified by lamps on 2026-03-01"):
        monitored(lake, "2026-03-01")


def it_names_a_report_that_cannot_be_read(lake: Storage) -> None:
    lake.write(f"{drift_reports('lamps', FEED)}/2026-03-01.json", b"{")
    with pytest.raises(MachineryError, match=r"2026-03-01\.json cannot be read"):
        days_before(lake, "lamps", FEED, "2026-03-02")


def it_reads_no_more_reports_than_it_shows(lake: Storage) -> None:
    folder = drift_reports("lamps", FEED)
    lake.write(f"{folder}/2019-12-31.json", b"too old to be read")
    dates = [f"2020-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 29)]
    for dt in dates:
        lake.write(f"{folder}/{dt}.json", json.dumps({"dt": dt}).encode())
        lake.write(f"{folder}/{dt}.html", b"page")
    found = [day["dt"] for day in days_before(lake, "lamps", FEED, "2020-03-20")]
    assert found == [dt for dt in dates if dt < "2020-03-20"][-SHOWN_DAYS:]


def it_asks_for_training_only_for_the_newest_date_of_a_scheduled_run(lake: Storage, package: str) -> None:
    info = load_package(lake, package).info
    champions.append(
        lake,
        "lamps",
        {"package": package, "package_id": "p", "version": "1", "run_id": "r", "dataset": info.dataset}
        | {"dataset_version": "v1", "split_id": "s1", "transform_hash": "t"},
        now=datetime(2026, 3, 1, tzinfo=UTC),
    )
    for dt in ("2026-03-01", "2026-03-02"):
        classify(lake, package, dt, 30)
    first, second = monitored(lake, "2026-03-01"), monitored(lake, "2026-03-02")
    assert first["alert"]
    assert not second["alert"]
    asked = [{"dataset": "lamps", "asked_by": "drift"}]
    assert retraining_of(lake, [{**second, "alert": True}], "scheduled") == asked
    for kind in ("backfill", "manual", "asset_triggered", "operator_triggered", ""):
        assert retraining_of(lake, [{**second, "alert": True}], kind) == []
    assert retraining_of(lake, [first], "scheduled") == []  # an older date
    assert retraining_of(lake, [second], "scheduled") == []  # told before
