"""The DAGs of dags/, played without a scheduler: their task functions called in their order, at a simulated moment.

A process whose clock is moved (time-machine) sees that moment everywhere. What would go through XCom goes from call to
call; Spark jobs run in this process's session.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors
from darkroom_airflow import dates, flows, monitoring, promoting
from darkroom_airflow.common import DATASETS, PREDICTIONS
from darkroom_airflow.links import run_url

from darkroom.storage import open_lake
from darkroom.writer import RUN_VARIABLE
from spark_apps.jobs import manifest, predict, preprocess, validate
from training.jobs import train as train_job


@dataclass(frozen=True)
class Run:
    """What a task sees of its DAG run. What is done again within the hour is the same run, as a cleared one is."""

    dag_id: str
    run_type: str = "manual"
    partition_key: str | None = None
    clear_number: int = 0
    user: str = "ana"
    run_after: datetime = field(default_factory=lambda: datetime.now(UTC).replace(minute=0, second=0, microsecond=0))

    @property
    def start_date(self) -> datetime:
        return self.run_after

    @property
    def run_id(self) -> str:
        return f"{self.run_type}__{self.partition_key or self.run_after.isoformat()}"

    @property
    def triggering_user_name(self) -> str:
        return self.user


class _Pulled(SimpleNamespace):
    """A task instance as far as our tasks use one."""

    def xcom_push(self, key: str, value: Any) -> None:
        vars(self)[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return vars(self).get(f"{task_ids}.{key}")


def prepare(form: Mapping[str, Any]) -> dict[str, Any]:
    """prepare_dataset without its EDA pages; the event that it publishes."""
    run = _named(Run("prepare_dataset"))
    plan = flows.check_request.function(params=dict(form))
    dataset = plan["dataset"]
    raw = flows.download.function(dataset, plan["source"], dag_run=run)
    version = manifest.make({"dataset": dataset, "raw_index": raw["index_path"], "layout": plan["layout"]})["version"]
    split_id = flows.split.function(dataset, version, plan["split_options"])["split_id"]
    chosen = {"dataset": dataset, "version": version, "split_id": split_id}
    validate.validate({**chosen, "limits": plan["limits"]})
    preprocess.make({**chosen, "transforms": plan["transforms"], "features": plan["features"]})
    outlets = OutletEventAccessors()
    flows.publish.function(dataset, version, split_id, plan["configs"], outlet_events=outlets)
    return dict(outlets[DATASETS].extra)


def train(
    run_type: str = "manual", form: Mapping[str, Any] | None = None, event: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """train_model: {"waits": why} where it may not begin, else what the gate returned, with ``asks`` a person.

    ``event``: what woke it, for the run_type asset_triggered.
    """
    run = _named(Run("train_model", run_type))
    events = {DATASETS: [SimpleNamespace(extra=dict(event), timestamp=run.start_date)]} if event else {}
    try:
        plan = flows.plan.function(params=dict(form or {}), triggering_asset_events=events, dag_run=run)
    except AirflowSkipException as wait:
        return {"waits": str(wait)}
    try:
        preprocess.make({name: plan[name] for name in ("dataset", "version", "split_id", "transforms", "features")})
        trained = [flows.train.function(task) for task in flows.configs_of.function("python", plan["configs"])]
        in_spark = [train_job.train(task) for task in flows.configs_of.function("spark", plan["configs"])]
        verdict = flows.gate.function(flows.evaluate.function(plan, trained, in_spark))
        asks = flows.to_approve.function(verdict)
        try:
            promoted = flows.promote.function(verdict, outlet_events=OutletEventAccessors())
        except AirflowSkipException:
            promoted = None
    finally:
        flows.close_runs.function(ti=_Pulled(**{"plan.parent_run_id": plan["parent_run_id"]}))
    return {**verdict, "changed": plan["changed"], "asks": asks, "promoted": promoted}


def approve(form: Mapping[str, Any], name: str) -> dict[str, Any]:
    """promote_champion, with a yes of that person."""
    _named(Run("promote_champion", "operator_triggered"))
    proposal = promoting.propose.function(params=dict(form))
    answer = {"responded_by_user": {"id": name, "name": name}, "responded_at": datetime.now(UTC)}
    promoted = promoting.promote_approved.function(proposal["verdict"], answer, outlet_events=OutletEventAccessors())
    return dict(promoted)


def roll_back(model: str, reason: str) -> dict[str, Any]:
    """rollback_champion to the one before; with the ``partitions`` that the withdrawn one wrote."""
    from training.deciding.promotion import partitions_of

    run = _named(Run("rollback_champion"))
    form = {"model": model, "reason": reason, "to": 0}
    plan = promoting.plan_rollback.function(params=form)
    done = promoting.roll_back.function(plan, params=form, dag_run=run, outlet_events=OutletEventAccessors())
    return {**done, "partitions": partitions_of(open_lake(), model, done["withdrawn"])}


def classify(dt: str, run_type: str = "scheduled", form: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """batch_inference of a date, and monitor_drift, which its event wakes: {"summary", "drift", "asked"}."""
    run = _named(Run("batch_inference", run_type, dt))
    fields = dict(form or {})
    requests = dates.find_feeds.function(params=fields, dag_run=run, ti=_Pulled())
    if fields.get("dry_run"):
        return {"summary": None, "drift": [], "asked": []}
    results = [predict.classify(request) for request in requests]
    outlets = OutletEventAccessors()
    summary = dates.summarise.function(results, params=fields, dag_run=run, outlet_events=outlets)
    return {"summary": summary, **_monitor(dt, outlets[PREDICTIONS].extra)}


def reconcile(days: int) -> dict[str, Any]:
    """reconcile over so many days, and monitor_drift for each date that it classified again."""
    run = _named(Run("reconcile", "scheduled"))
    requests = dates.find_changes.function(params={"days": days}, dag_run=run, ti=_Pulled())
    results = [predict.classify(request) for request in requests]
    outlets = OutletEventAccessors()
    try:
        dates.summarise_changes.function(results, outlet_events=outlets)
    except AirflowSkipException:
        return {"dates": [], "asked": []}
    event = outlets[PREDICTIONS]
    found = [_monitor(dt, event.extra) for dt in sorted(event.partition_keys)]
    return {"dates": sorted(event.partition_keys), "asked": [form for each in found for form in each["asked"]]}


def _monitor(dt: str, event: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    run = _named(Run("monitor_drift", "asset_triggered", dt))
    events = {PREDICTIONS: [SimpleNamespace(extra=dict(event), timestamp=run.start_date)]}
    found = monitoring.find_partitions.function(triggering_asset_events=events, dag_run=run)
    days = [monitoring.check.function(partition) for partition in found]
    return {"drift": days, "asked": monitoring.alert.function(days, triggering_asset_events=events)}


def _named(run: Run) -> Run:
    """Commits say whose they are, as those of an operator do."""
    os.environ[RUN_VARIABLE] = run_url(run)
    return run
