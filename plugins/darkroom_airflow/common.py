"""What the DAG files share: assets, default arguments and names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    Asset,
    AssetOrTimeSchedule,
    AsyncCallback,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    ExceptionRetryPolicy,
    RetryAction,
    RetryRule,
    SyncCallback,
)
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.configuration import conf

from darkroom.settings import get_settings
from darkroom_airflow.notify import Alert

DATASETS = Asset(name="darkroom_datasets", uri="darkroom://datasets", group="darkroom")
MODELS = Asset(name="darkroom_models", uri="darkroom://models", group="darkroom")
PREDICTIONS = Asset(name="darkroom_predictions", uri="darkroom://predictions", group="darkroom")

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception="darkroom.errors.UserError", action=RetryAction.FAIL, reason="Trying again cannot help"),
        RetryRule(exception="darkroom.errors.MachineryError", action=RetryAction.RETRY, reason="It may pass"),
    ]
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "darkroom",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(hours=6),
    "on_failure_callback": Alert(),
}

# Where the alert of a late date runs: a laptop has no triggerer, and KubernetesExecutor takes no callbacks.
_CALLBACK = SyncCallback if conf.get("core", "executor") == "LocalExecutor" else AsyncCallback

# A date that is not classified so long after its run was queued is told of; partitioned runs have no logical date.
DATE_IS_LATE = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=timedelta(hours=get_settings().date_hours),
    callback=_CALLBACK(
        Alert,
        kwargs={
            "text": f"batch_inference for {{{{ dag_run.partition_key or 'no date' }}}} has not ended "
            f"{get_settings().date_hours:g} hours after it was queued. Look for a task that waits or hangs: "
            f"{get_settings().airflow_url}/dags/batch_inference/runs/{{{{ dag_run.dag_run_id }}}}"
        },
    ),
)


def champion_event(moved: dict[str, Any]) -> dict[str, Any]:
    """What an event of MODELS says of a champion that a promotion or a rollback has set. Nothing is scheduled on it."""
    return {name: moved[name] for name in ("model", "version", "entry")}


def _train_schedule() -> Any:
    """On every published dataset; and by the cron of DARKROOM_TRAIN_SCHEDULE when that is set."""
    cron = get_settings().train_schedule
    if not cron:
        return [DATASETS]
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone="UTC"), assets=[DATASETS])


TRAIN_SCHEDULE = _train_schedule()
TRAIN_PARALLEL = get_settings().train_parallel
# Not backfillable: training is about now. A backfill of it would compare models with data that did not exist yet.
TRAIN_RUN_TYPES = [
    DagRunType.MANUAL,
    DagRunType.ASSET_TRIGGERED,
    DagRunType.SCHEDULED,
    DagRunType.OPERATOR_TRIGGERED,
]
# For what looks back by itself: a backfill of it would do the same thing several times.
UPKEEP_RUN_TYPES = [DagRunType.MANUAL, DagRunType.SCHEDULED, DagRunType.OPERATOR_TRIGGERED]


def run_type_of(dag_run: Any) -> str:
    """The kind of run as a word: "scheduled", "manual", "backfill", ... A task's own enum prints its class's name."""
    return str(getattr(dag_run.run_type, "value", dag_run.run_type))
