"""
### Classify one day of arriving images

Each run handles one date, its partition key (`2026-01-31`), and every feed below `inbox/`. A feed is a folder of
images, bound to a model; that model's champion classifies it. Results are rows of `tables/predictions/<model>`
in the lake.

**When:** every night for the day before, with today's champion. For one date, trigger it with a partition key; for a
range, use a backfill: both take the champion of the date, unless *Model* says otherwise. A *Dry run* only tells.
A date without images ends with zero rows and says so. Running a date again replaces its rows, or changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import CronPartitionTimetable, dag
from darkroom_airflow import dates
from darkroom_airflow.common import DATE_IS_LATE, DEFAULT_ARGS
from darkroom_airflow.forms import params_of
from darkroom_airflow.operators import SPARK, SparkJobOperator

from darkroom.date_requests import BatchRequest


@dag(
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params=params_of(BatchRequest),
    default_args=DEFAULT_ARGS,
    max_active_runs=2,
    deadline=DATE_IS_LATE,
    tags=["darkroom", "inference"],
    doc_md=__doc__,
)
def batch_inference() -> None:
    predict = SparkJobOperator.partial(
        **SPARK,
        task_id="predict",
        job="spark_apps.jobs.predict",
        map_index_template="{{ task.request['feed'] }}",
    ).expand(request=dates.find_feeds())
    dates.summarise(predict.output)


batch_inference()
