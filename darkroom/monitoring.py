"""One feed's date looked at for drift: compared with the model's reference and with the days before, told once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.contract import drift_reports, inbox, predictions_table
from darkroom.drift import AlarmPolicy, DriftReport, check_rows, judge
from darkroom.eda.pictures import Reader
from darkroom.errors import InvalidRequest, MachineryError
from darkroom.monitoring_page import monitoring_page
from darkroom.storage import Storage
from darkroom.tables import Table

ORIGIN = "batch"
SHOWN_DAYS = 60


def monitor_date(lake: Storage, model: str, feed: str, dt: str) -> dict[str, Any]:
    """Checks the date, writes its report and page, and says whether someone has to be told.

    The reference is that of the package which wrote the date, and only earlier dates of the same package are looked
    at. ``alert`` is true where an alarm is raised that the day before did not raise for the same signals. Running it
    again gives the same. Raises InvalidRequest for a date that was not classified, ModelError for a damaged package.
    """
    from darkroom.package import read_package

    table = Table(lake, predictions_table(model))
    partition = {"dt": dt, "feed": feed, "origin": ORIGIN}
    commit = table.last_commit(partition)
    if commit is None:
        raise InvalidRequest(f"{feed} was not classified by {model} on {dt}. Run batch_inference for that date first.")
    package = commit["package"]
    rows = table.read(partition)
    found = check_rows(read_package(lake, package).reference, rows)
    policy = AlarmPolicy()
    earlier = [day for day in days_before(lake, model, feed, dt) if day["package"] == package]
    alarm = judge([*(day["p"] for day in earlier), found.p], policy)
    unusual = (
        sorted(signal.name for signal in found.signals if signal.corrected <= policy.twice) if alarm.raised else []
    )
    before = next((day for day in reversed(earlier) if day["p"] is not None), None)
    told = before is not None and before["alarm"] and set(unusual) <= set(before["unusual"])
    day = {
        "dt": dt,
        "feed": feed,
        "model": model,
        "package": package,
        "model_version": commit["summary"]["model_version"],
        "alarm": alarm.raised,
        "why": alarm.said,
        "unusual": sorted(unusual),
        "alert": alarm.raised and not told,
        **found.as_dict(),
    }
    folder = drift_reports(model, feed)
    lake.write(f"{folder}/{dt}.json", json.dumps(day, indent=1, sort_keys=True).encode())
    pictures = _pictures(lake, feed, dt, found, rows.select(["image_id", "path"]).to_pylist())
    page = f"{folder}/{dt}.html"
    lake.write(page, monitoring_page([*earlier, day], found, pictures, policy).encode())
    small = ("dt", "feed", "model", "model_version", "alarm", "alert", "unusual", "state", "p", "images")
    return {**{name: day[name] for name in small}, "said": f"{found.said} {alarm.said}", "page": page}


def days_before(lake: Storage, model: str, feed: str, dt: str) -> list[dict[str, Any]]:
    """What the checks of the feed's last SHOWN_DAYS dates before ``dt`` found, oldest date first.

    Reports are named by their dates, so that no older one is read.
    """
    folder = drift_reports(model, feed)
    names = [blob.path.removeprefix(f"{folder}/") for blob in lake.list(folder)]
    dates = sorted(date for name in names if name.endswith(".json") and (date := name.removesuffix(".json")) < dt)
    return [_report(lake, f"{folder}/{date}.json") for date in dates[-SHOWN_DAYS:]]


def _report(lake: Storage, path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(lake.read(path))
    except ValueError as error:
        raise MachineryError(
            f"{lake.uri(path)} cannot be read ({error}). Expected the JSON that a drift check wrote. "
            "Remove it and run monitor_drift for its date again."
        ) from error
    return found


def newest_date(lake: Storage, model: str, feed: str) -> str | None:
    """The newest date of the feed that was classified by the model."""
    commits = Table(lake, predictions_table(model)).history()
    dates = [one["partition"]["dt"] for one in commits if one["partition"] and one["partition"]["feed"] == feed]
    return max(dates, default=None)


def retraining_of(lake: Storage, days: Sequence[Mapping[str, Any]], run_type: str) -> list[dict[str, str]]:
    """The trainings that drift asks for: one a model, after an alert, by a scheduled run of a feed's newest date.

    A backfill, a rerun, a date by hand or a reconcile asks for none: they look at the past.
    """
    if run_type != "scheduled":
        return []
    models = {
        str(day["model"])
        for day in days
        if day["alert"] and newest_date(lake, str(day["model"]), str(day["feed"])) == day["dt"]
    }
    from darkroom.champions import current

    champions = [champion for model in sorted(models) if (champion := current(lake, model))]
    return [{"dataset": champion.dataset, "asked_by": "drift"} for champion in champions]


def _pictures(
    lake: Storage, feed: str, dt: str, found: DriftReport, rows: Sequence[Mapping[str, str]]
) -> list[tuple[bytes, str]]:
    """Thumbnails of the images that are most unlike the reference, with how far they are."""
    paths = {row["image_id"]: row["path"] for row in rows}
    reader = Reader(lambda uri: lake.read(uri))
    pictures = []
    for image in found.unlike:
        path = paths[image.image_id]
        thumbnail = reader.thumbnail(f"{inbox(feed, dt)}/{path}")
        if thumbnail is not None:
            pictures.append((thumbnail, f"{path}, {image.distance:.1f} times by {image.by}"))
    return pictures
