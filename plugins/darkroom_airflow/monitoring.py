"""The tasks of monitor_drift."""

from __future__ import annotations

import logging
from typing import Any

from darkroom.date_requests import checked_partition_date
from darkroom.storage import open_lake
from darkroom_airflow.common import PREDICTIONS
from darkroom_airflow.notify import tell
from darkroom_airflow.tasks import work

log = logging.getLogger(__name__)


@work
def find_partitions(triggering_asset_events: Any = None, dag_run: Any = None) -> list[dict[str, str]]:
    """The feeds that were classified on this run's date, each with its model."""
    from darkroom.contract import predictions_table
    from darkroom.inference import bound_model
    from darkroom.tables import Table

    lake, dt = open_lake(), checked_partition_date(dag_run.partition_key)
    events = (triggering_asset_events or {}).get(PREDICTIONS, [])
    feeds = {feed for event in events for feed in event.extra.get("feeds", [])} or set(lake.folders("inbox"))
    found = []
    for feed in sorted(feeds):
        model = bound_model(lake, feed)
        if Table(lake, predictions_table(model)).last_commit({"dt": dt, "feed": feed, "origin": "batch"}) is not None:
            found.append({"model": model, "feed": feed, "dt": dt})
    if not found:
        log.info("No feed was classified on %s: there is nothing to look at.", dt)
    return found


@work(inlets=[PREDICTIONS], map_index_template="{{ task.op_kwargs['partition']['feed'] }}")
def check(partition: dict[str, str]) -> dict[str, Any]:
    """Compares one feed's date with the model's reference and with the days before."""
    from darkroom.monitoring import monitor_date

    found = monitor_date(open_lake(), **partition)
    (log.warning if found["alarm"] else log.info)("%s on %s: %s", found["feed"], found["dt"], found["said"])
    return found


@work(inlets=[PREDICTIONS], trigger_rule="none_failed")
def alert(results: Any, triggering_asset_events: Any = None) -> list[dict[str, str]]:
    """Tells of each new alarm once, and returns the trainings that it asks for."""
    from darkroom.inference import may_ask_for_retraining
    from darkroom.monitoring import retraining_of

    days = list(results or [])
    for day in days:
        if day["alert"]:
            tell(f"Drift of {day['feed']} on {day['dt']}, model {day['model']}: {day['said']}")
    events = (triggering_asset_events or {}).get(PREDICTIONS, [])
    asks = bool(events) and all(may_ask_for_retraining(event.extra) for event in events)
    return retraining_of(open_lake(), days, "scheduled" if asks else "")
