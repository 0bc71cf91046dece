"""The Python tasks about dates: batch_inference and reconcile. Heavy imports stand inside the functions.

Parameters with the default None and a name of Airflow's context (params, dag_run, ...) are filled in by Airflow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from darkroom.contract import run_page
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_lake
from darkroom_airflow.common import MODELS, PREDICTIONS, run_type_of
from darkroom_airflow.forms import fields_of
from darkroom_airflow.notify import tell
from darkroom_airflow.tasks import work

log = logging.getLogger(__name__)


@work
def find_feeds(params: Any = None, dag_run: Any = None, ti: Any = None) -> list[dict[str, Any]]:
    """One request of the predict job for each feed; a scheduled date first waits until its inboxes are complete.

    A dry run tells in the log, on a page and under the key ``summary`` what would be done, and hands on nothing.
    """
    from darkroom.inference import feeds_of_date, wait_for_inboxes

    lake, fields = open_lake(), fields_of(params)
    run_type = run_type_of(dag_run)
    requests = feeds_of_date(lake, fields, dag_run.partition_key, dag_run.start_date, run_type, dag_run.clear_number)
    if fields.get("dry_run"):
        _tell_dry_run(lake, requests, f"Dry run of {dag_run.partition_key}", dag_run, ti)
        return []
    if run_type == "scheduled" and get_settings().inbox_wait_seconds:
        return wait_for_inboxes(lake, requests, clock=lambda: datetime.now(UTC), sleep=time.sleep)
    return requests


@work(inlets=[MODELS], outlets=[PREDICTIONS], trigger_rule="none_failed")
def summarise(results: Any, params: Any = None, dag_run: Any = None, outlet_events: Any = None) -> dict[str, Any]:
    """The date's summary over all feeds, with the kind of run it was. A dry run is skipped, so that it wakes nobody.

    Feeds whose images had not all arrived are told of here, in one alert, and not where they were waited for: an
    address that does not take the alert then costs no feed its rows, and no second wait.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from darkroom.inference import incomplete_alert, summary_of_date

    if fields_of(params).get("dry_run"):
        raise AirflowSkipException("A dry run: nothing was written. find_feeds tells what would be.")
    found = summary_of_date(dag_run.partition_key, list(results or []))
    if found["incomplete"]:
        tell(incomplete_alert(found["dt"], found["incomplete"], get_settings().inbox_wait_seconds))
    summary = {**found, "run_type": run_type_of(dag_run), "rerun": bool(dag_run.clear_number)}
    outlet_events[PREDICTIONS].extra = summary
    return summary


@work
def find_changes(params: Any = None, dag_run: Any = None, ti: Any = None) -> list[dict[str, Any]]:
    """One request of the predict job for each date and feed whose images changed since it was classified."""
    from darkroom.date_requests import ReconcileRequest
    from darkroom.partitions_page import partitions_page
    from darkroom.reconcile import days_before, find_changes, requests_of_changes
    from darkroom.requests import parse_request

    lake = open_lake()
    request = parse_request(ReconcileRequest, fields_of(params))
    days = request.days or get_settings().reconcile_days
    dates = days_before(dag_run.run_after.astimezone(UTC).date(), days)
    changes = find_changes(lake, dates, request.feeds)
    requests = requests_of_changes(lake, changes, dag_run.start_date)
    queued = {(one["dt"], one["feed"]): one for one in requests}
    rows = [
        {
            "dt": change.dt,
            "feed": change.feed,
            "model": change.model,
            "model_version": queued[key]["champion"]["version"] if (key := (change.dt, change.feed)) in queued else "",
            "mode": "reconcile",
            "images": change.images,
            "would": "write" if key in queued else "skip",
            "why": f"{change.kind}: {change.what}",
        }
        for change in changes
    ]
    told = f"{len(dates)} dates from {dates[0]} to {dates[-1]}: {len(changes)} partitions differ from their images."
    log.info("%s %d go to the predict job.", told, 0 if request.dry_run else len(requests))
    _keep_page(lake, "reconcile", partitions_page("Reconcile", told, rows), rows, dag_run, ti)
    return [] if request.dry_run else requests


@work(inlets=[MODELS], outlets=[PREDICTIONS], trigger_rule="none_failed")
def summarise_changes(results: Any, outlet_events: Any = None) -> dict[str, Any]:
    """A summary for each date that was classified again; each date is a partition of the event. None: skipped."""
    from airflow.sdk.exceptions import AirflowSkipException

    from darkroom.inference import summary_of_date

    by_date: dict[str, list[dict[str, Any]]] = {}
    for result in results or []:
        by_date.setdefault(result["dt"], []).append(result)
    if not by_date:
        raise AirflowSkipException("Nothing changed: no date was classified again.")
    dates = {dt: summary_of_date(dt, found) for dt, found in sorted(by_date.items())}
    feeds = sorted({feed for found in dates.values() for feed in found["feeds"]})
    summary = {"run_type": "reconcile", "feeds": feeds, "dates": dates}
    outlet_events[PREDICTIONS].extra = summary
    outlet_events[PREDICTIONS].add_partitions(list(dates))
    return summary


def _tell_dry_run(lake: Storage, requests: Sequence[dict[str, Any]], title: str, dag_run: Any, ti: Any) -> None:
    from darkroom.partitions_page import partitions_page
    from spark_apps.preview import preview

    rows = preview(lake, requests)
    for row in rows:
        log.info(
            "Would %s %s of %s: %s images, version %s of %s (%s): %s.",
            *(row[name] for name in ("would", "dt", "feed", "images", "model_version", "model", "mode", "why")),
        )
    _keep_page(lake, "dry-run", partitions_page(title, "Nothing was written.", rows), rows, dag_run, ti)


def _keep_page(lake: Storage, kind: str, page: str, rows: list[dict[str, Any]], dag_run: Any, ti: Any) -> None:
    """Puts the page where the task's button finds it, and the rows beside the task."""
    path = run_page(kind, f"{dag_run.dag_id}/{dag_run.run_id}")
    lake.write(path, page.encode())
    ti.xcom_push("page", path)
    ti.xcom_push("summary", rows)
