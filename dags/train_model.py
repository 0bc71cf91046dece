"""
### Train, compare, and promote only what is better

Trains every named config on a dataset's newest split, side by side; compares them in MLflow; scores the best on val
against the champion on the same test images; and promotes it only when the gate lets it pass.

**When:** it starts by itself when `prepare_dataset` has published a dataset, and on a schedule when
`DARKROOM_TRAIN_SCHEDULE` is set. Trigger it to train again with other configs or another seed.

**What comes out:** MLflow runs, a comparison page, and either a new champion or the reasons why not. A refused
challenger ends green: *promote* is then skipped and *gate* says why; so it is where a person has to approve first,
which *promote_champion* waits for. Datasets that were published while another one
was being trained on get a run each, from *train_others*.
"""

from __future__ import annotations

from airflow.sdk import dag
from darkroom_airflow import flows
from darkroom_airflow.common import DEFAULT_ARGS, TRAIN_PARALLEL, TRAIN_RUN_TYPES, TRAIN_SCHEDULE
from darkroom_airflow.forms import params_of
from darkroom_airflow.lineage_events import StartRun
from darkroom_airflow.operators import SPARK, TRAINING, SparkJobOperator

from darkroom.requests import TrainRequest


@dag(
    schedule=TRAIN_SCHEDULE,
    catchup=False,
    params=params_of(TrainRequest),
    default_args=DEFAULT_ARGS,
    allowed_run_types=TRAIN_RUN_TYPES,
    max_active_runs=1,
    tags=["darkroom", "training"],
    doc_md=__doc__,
)
def train_model() -> None:
    planned = flows.plan()
    examples = SparkJobOperator(
        **SPARK,
        task_id="ensure_examples",
        job="spark_apps.jobs.preprocess",
        request={key: planned[key] for key in ("dataset", "version", "split_id", "transforms", "features")},
    )
    python_tasks = flows.configs_of.override(task_id="python_configs")("python", planned["configs"])
    spark_tasks = flows.configs_of.override(task_id="spark_configs")("spark", planned["configs"])
    trained = flows.train.override(max_active_tis_per_dagrun=TRAIN_PARALLEL).expand(config=python_tasks)
    trained_in_spark = SparkJobOperator.partial(
        **SPARK,
        task_id="train_spark",
        job="training.jobs.train",
        conf=TRAINING,
        map_index_template="{{ task.request['name'] }}",
    ).expand(request=spark_tasks)
    examples >> [trained, trained_in_spark]
    StartRun.partial(task_id="train_others", trigger_dag_id="train_model").expand(conf=flows.other_datasets())
    verdict = flows.gate(flows.evaluate(planned, trained, trained_in_spark.output))
    StartRun.partial(task_id="ask_approval", trigger_dag_id="promote_champion").expand(conf=flows.to_approve(verdict))
    flows.promote(verdict) >> flows.close_runs().as_teardown()


train_model()
