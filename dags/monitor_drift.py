"""
### Does what arrives still look like what the model was validated on?

Compares each feed of a date with the reference in the model's package: sizes and intensities, the model's embedding,
scores and labels. The button on *check* opens the page with the days before and the most unlike images. A new alarm
is told once, and then no more until it changes.

**When:** after each date that `batch_inference` has classified. For one date, trigger it with a partition key.

**What comes out:** a page a date, an alert where something drifts, and, for the newest date of a scheduled run, a
request to `train_model`, which has a cool-down. A backfill or a rerun asks for no training.
"""

from __future__ import annotations

from airflow.sdk import IdentityMapper, PartitionedAssetTimetable, dag
from darkroom_airflow import monitoring
from darkroom_airflow.common import DEFAULT_ARGS, PREDICTIONS
from darkroom_airflow.lineage_events import StartRun


@dag(
    schedule=PartitionedAssetTimetable(assets=PREDICTIONS, default_partition_mapper=IdentityMapper()),
    catchup=False,
    default_args=DEFAULT_ARGS,
    max_active_runs=1,
    tags=["darkroom", "inference"],
    doc_md=__doc__,
)
def monitor_drift() -> None:
    days = monitoring.check.expand(partition=monitoring.find_partitions())
    requests = monitoring.alert(days)
    StartRun.partial(task_id="ask_training", trigger_dag_id="train_model").expand(conf=requests)


monitor_drift()
