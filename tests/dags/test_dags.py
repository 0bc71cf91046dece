"""The DAG files: what they are called, how they are wired, and that reading them does no work."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import ParamValidationError
from darkroom_airflow.forms import fields_of

from darkroom.requests import TrainRequest, parse_request

pytestmark = pytest.mark.dags

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    "tensorflow",
    "keras",
    "mlflow",
    "pyspark",
    "great_expectations",
    "pandas",
    "sklearn",
    "matplotlib",
    "kubernetes",
]
FILES = sorted((ROOT / "dags").glob("*.py"))


def arrows(dag):
    return {(task.task_id, after) for task in dag.tasks for after in task.downstream_task_ids}


def it_has_one_dag_a_file_named_like_the_file(dags):
    assert set(dags) == {path.stem for path in FILES}


def it_explains_every_dag_and_tags_it(dags):
    for dag in dags.values():
        assert "**When:**" in dag.doc_md
        assert "darkroom" in dag.tags


def it_gives_every_form_field_a_title_a_sentence_a_default_and_a_check(dags):
    for dag in dags.values():
        for name in dag.params:
            schema = dag.params.get_param(name).schema
            assert schema["title"], name
            assert dag.params.get_param(name).description.endswith("."), name
            assert schema["type"], name
        dag.params.validate()


def it_takes_an_empty_field_for_its_default(dags):
    """Airflow's form sends null for a field that was left empty."""
    params = dags["train_model"].params
    assert params.get_param("seed").resolve(None) is None
    assert params.get_param("seed").resolve(3) == 3
    assert parse_request(TrainRequest, fields_of(dict.fromkeys(params))) == TrainRequest()
    for wrong in (-1, "x", 0.5):
        with pytest.raises(ParamValidationError):
            params.get_param("seed").resolve(wrong)


def it_prepares_before_it_publishes_and_validates_before_it_preprocesses(dags):
    wired = arrows(dags["prepare_dataset"])
    chain = ["check_request", "download", "manifest", "split", "validate", "preprocess", "publish"]
    assert set(itertools.pairwise(chain)) <= wired
    assert ("manifest", "eda") in wired
    assert ("validate", "split_eda") in wired


def it_publishes_the_dataset_that_training_waits_for(dags):
    publish = dags["prepare_dataset"].get_task("publish")
    assert [asset.name for asset in publish.outlets] == ["darkroom_datasets"]
    assert [asset.name for asset in dags["train_model"].timetable.asset_condition.objects] == ["darkroom_datasets"]


def it_shows_the_chain_in_the_graph_of_assets_and_starts_nothing_by_a_new_champion(dags):
    from airflow.serialization.serialized_objects import DagSerialization

    def assets(dag_id, task_id):
        task = dags[dag_id].get_task(task_id)
        return [asset.name for asset in task.inlets], [asset.name for asset in task.outlets]

    assert assets("train_model", "promote") == (["darkroom_datasets"], ["darkroom_models"])
    assert assets("promote_champion", "promote_approved") == (["darkroom_datasets"], ["darkroom_models"])
    assert assets("rollback_champion", "roll_back") == ([], ["darkroom_models"])
    assert assets("batch_inference", "summarise") == (["darkroom_models"], ["darkroom_predictions"])
    schedules = {name: str(DagSerialization.to_dict(dag)["dag"]["timetable"]) for name, dag in dags.items()}
    assert "darkroom://datasets" in schedules["train_model"]
    assert not [name for name, schedule in schedules.items() if "darkroom://models" in schedule]


def it_has_a_rule_for_openlineage_for_every_task(dags):
    from darkroom_airflow.lineage_events import TellsLineage
    from darkroom_airflow.openlineage_rules import RULES

    for dag in dags.values():
        for task in dag.tasks:
            kind = task.operator_class if task.is_mapped else type(task)
            assert issubclass(kind, TellsLineage), f"{task.task_id} is a {kind.__name__}; see lineage_events.py"
            given = {**vars(task), **(task.partial_kwargs if task.is_mapped else {})}
            function = given.get("python_callable") or getattr(task, "python_callable", None)
            name = function.__name__ if function else given.get("job") or kind.__name__
            assert name in RULES, f"say in openlineage_rules.py what {name} of {dag.dag_id} reads and writes"


def it_gates_before_it_promotes(dags):
    chain = ["ensure_examples", "train", "evaluate", "gate", "promote", "close_runs"]
    assert set(itertools.pairwise(chain)) <= arrows(dags["train_model"])


def it_does_not_let_training_be_backfilled(dags):
    assert "backfill" not in {kind.value for kind in dags["train_model"].allowed_run_types}


def it_does_not_let_clean_up_decide_whether_training_succeeded(dags):
    assert dags["train_model"].get_task("close_runs").is_teardown


def it_makes_every_date_a_partition(dags):
    timetable = dags["batch_inference"].timetable
    assert type(timetable).__name__ == "CronPartitionTimetable"
    assert timetable.key_format == "%Y-%m-%d"


def it_runs_every_night_for_the_day_before(dags):
    import pendulum
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dags["batch_inference"])).timetable
    from_march = TimeRestriction(earliest=pendulum.datetime(2026, 3, 1, 12), latest=None, catchup=True)
    night = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=from_march)
    assert (night.run_after, night.partition_key) == (pendulum.datetime(2026, 3, 2), "2026-03-01")


def it_reconciles_by_itself_and_tells_of_the_dates(dags):
    reconcile = dags["reconcile"]
    chain = ["find_changes", "predict", "summarise_changes"]
    assert set(itertools.pairwise(chain)) <= arrows(reconcile)
    assert [asset.name for asset in reconcile.get_task("summarise_changes").outlets] == ["darkroom_predictions"]
    assert "backfill" not in {kind.value for kind in reconcile.allowed_run_types}


def it_vacuums_only_when_told_to_and_then_dry(dags):
    vacuum = dags["vacuum"]
    assert type(vacuum.timetable).__name__ == "NullTimetable"
    assert vacuum.params["dry_run"] is True
    assert {task.task_id for task in vacuum.tasks} == {"vacuum_lake", "vacuum_mlflow"}


def it_wakes_nobody_who_trains_or_promotes_from_a_date(dags):
    train = dags["train_model"]
    assert "darkroom_predictions" not in {asset.name for asset in train.timetable.asset_condition.objects}
    for name in ("batch_inference", "reconcile"):
        assert not [task for task in dags[name].tasks if task.task_type == "TriggerDagRunOperator"]
        outlets = {asset.name for task in dags[name].tasks for asset in task.outlets}
        assert outlets == {"darkroom_predictions"}


def it_sends_every_spark_job_through_the_pool_and_the_connection(dags):
    jobs = [task for dag in dags.values() for task in dag.tasks if task.task_type == "SparkJobOperator"]
    assert len(jobs) == 7
    assert {task.pool for task in jobs} == {"spark"}
    assert {task.partial_kwargs["conn_id"] if task.is_mapped else task._conn_id for task in jobs} == {"spark_default"}


def it_does_not_retry_a_spark_job_that_ran_out_of_memory(tmp_path):
    from darkroom_airflow.operators import SparkJobOperator

    from darkroom.errors import DataError
    from darkroom.storage import FolderStorage

    job = SparkJobOperator(task_id="job", job="training.jobs.train", request={})
    told = RuntimeError("Cannot execute: spark-submit --master local[*]. Error code is: 52.")
    with pytest.raises(DataError, match=r"training\.jobs\.train needs more memory .* spark\.driver\.memory"):
        job._outcome(FolderStorage(tmp_path), "", told, None)


def it_never_retries_what_the_user_must_correct(dags):
    from darkroom.errors import InvalidRequest, StorageUnavailable

    for dag in dags.values():
        for task in dag.tasks:
            policy = task.retry_policy
            assert policy.evaluate(InvalidRequest("no"), 1, 3).action.value == "fail"
            assert policy.evaluate(StorageUnavailable("away"), 1, 3).action.value == "retry"


def it_imports_nothing_heavy_while_parsing():
    code = (
        "import sys, runpy, pathlib\n"
        "[runpy.run_path(str(path)) for path in sorted(pathlib.Path('dags').glob('*.py'))]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={**_environment()}
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def it_keeps_every_dag_file_on_one_screen():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 66, path.name


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}


def it_trains_each_dataset_once_whose_events_arrive_together():
    from darkroom_airflow import flows
    from darkroom_airflow.common import DATASETS

    told = [
        {"dataset": "a", "split_id": "1", "configs": ["small_cnn"]},
        {"dataset": "b", "split_id": "2", "configs": ["small_cnn"]},
        {},  # made by hand in the UI: the setting's dataset
        {"dataset": "a", "split_id": "3", "configs": ["small_cnn"]},
    ]
    events = {DATASETS: [SimpleNamespace(extra=extra, timestamp=moment) for moment, extra in enumerate(told)]}
    asked = {"asked_by": "data"}
    assert flows.other_datasets.function(events) == [
        asked,
        told[1] | asked,
    ]  # the run itself trains on a's newest split
    assert flows.other_datasets.function({DATASETS: events[DATASETS][:1]}) == []
    assert flows.other_datasets.function(None) == []


@pytest.mark.parametrize("kind", ["scheduled", "manual", "backfill", "asset_triggered", "operator_triggered"])
def it_tells_the_kind_of_a_run_as_tasks_get_it(kind):
    from airflow.sdk.api.datamodels._generated import DagRunType
    from darkroom_airflow.common import run_type_of

    assert run_type_of(SimpleNamespace(run_type=DagRunType(kind))) == kind
    assert run_type_of(SimpleNamespace(run_type=kind)) == kind


def it_vacuums_for_real_on_a_schedule_and_dry_by_hand():
    from airflow.sdk.api.datamodels._generated import DagRunType
    from darkroom_airflow import upkeep

    due = datetime(2026, 6, 1, tzinfo=UTC)
    for kind, dry in (("scheduled", False), ("manual", True)):
        run = SimpleNamespace(run_type=DagRunType(kind), run_after=due)
        assert upkeep._asked({"days": 30, "dry_run": True}, run) == (datetime(2026, 5, 2, tzinfo=UTC), dry)
    assert upkeep._asked({"days": 0, "dry_run": False}, run) == (datetime(2026, 3, 3, tzinfo=UTC), False)
