"""
### Notice images that came late, were replaced or were withdrawn

Lists the inboxes of the last days, compares names, sizes and etags with what each date's rows were made from, and
classifies again only the dates that differ. It reads no image that has not changed. A date goes to the model that
wrote it before, so that a late image is classified as its neighbours were; where that model was withdrawn, to the
champion of the date.

**When:** every day at 06:00 UTC. Trigger it with more *Days* to look further back, or with *Dry run* to be told only.
It never retrains and never moves the champion.

**What comes out:** a page of what differed, on *find_changes*. Dates whose images are all gone, and results that were
restored by hand, are told there and stay as they are.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import CronTriggerTimetable, dag
from darkroom_airflow import dates
from darkroom_airflow.common import DEFAULT_ARGS, UPKEEP_RUN_TYPES
from darkroom_airflow.forms import params_of
from darkroom_airflow.operators import SPARK, SparkJobOperator

from darkroom.date_requests import ReconcileRequest


@dag(
    schedule=CronTriggerTimetable("0 6 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params=params_of(ReconcileRequest),
    default_args=DEFAULT_ARGS,
    allowed_run_types=UPKEEP_RUN_TYPES,
    max_active_runs=1,
    tags=["darkroom", "inference"],
    doc_md=__doc__,
)
def reconcile() -> None:
    predict = SparkJobOperator.partial(
        **SPARK,
        task_id="predict",
        job="spark_apps.jobs.predict",
        map_index_template="{{ task.request['dt'] }} {{ task.request['feed'] }}",
    ).expand(request=dates.find_changes())
    dates.summarise_changes(predict.output)


reconcile()
