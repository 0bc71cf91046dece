"""
### Give up what nothing current names

Removes from the lake what is older than the retention and named by nothing that is current: replaced rows, raw images
of old versions, examples, packages and reports of models that never were champion, outcomes of jobs; and MLflow runs
in the same way. Champions, the newest splits with their datasets, current rows, and every version of the retention
stay. Airflow's own history is cleaned by a command: see docs/backfills.md.

**When:** by hand, as a *Dry run* unless you say otherwise. With `DARKROOM_VACUUM_SCHEDULE` set, on that schedule, and
then it does remove. Not while `prepare_dataset` runs: an image that it finds in the lake must not be on its way out.

**What comes out:** a page of what was removed, or would be.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import CronTriggerTimetable, dag
from darkroom_airflow import upkeep
from darkroom_airflow.common import DEFAULT_ARGS, UPKEEP_RUN_TYPES
from darkroom_airflow.forms import params_of

from darkroom.date_requests import VacuumRequest
from darkroom.settings import get_settings

CRON = get_settings().vacuum_schedule


@dag(
    schedule=CronTriggerTimetable(CRON, timezone="UTC") if CRON else None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params=params_of(VacuumRequest),
    default_args=DEFAULT_ARGS,
    allowed_run_types=UPKEEP_RUN_TYPES,
    max_active_runs=1,
    tags=["darkroom", "upkeep"],
    doc_md=__doc__,
)
def vacuum() -> None:
    upkeep.vacuum_lake()
    upkeep.vacuum_mlflow()


vacuum()
