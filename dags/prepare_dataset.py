"""
### From a pile of labelled images to a dataset version that can be trained on

Trigger it with the form. It downloads the images, describes every file, draws what there is to see, splits them
without leaks into train, val and test, checks the result with Great Expectations, and cuts the pixels that training
reads.

**When:** a dataset is new or has grown. Running it again on the same images changes nothing and says so.

**What comes out:** the asset `darkroom_datasets`, which starts `train_model`; pages behind the *Open report* buttons.
"""

from __future__ import annotations

from airflow.sdk import dag
from darkroom_airflow import flows
from darkroom_airflow.common import DEFAULT_ARGS
from darkroom_airflow.forms import params_of
from darkroom_airflow.operators import SPARK, SparkJobOperator

from darkroom.prepare_request import PrepareRequest


@dag(
    schedule=None,
    params=params_of(PrepareRequest),
    default_args=DEFAULT_ARGS,
    max_active_runs=1,
    tags=["darkroom", "data"],
    doc_md=__doc__,
)
def prepare_dataset() -> None:
    plan = flows.check_request()
    dataset = plan["dataset"]
    raw = flows.download(dataset, plan["source"])
    manifest = SparkJobOperator(
        **SPARK,
        task_id="manifest",
        job="spark_apps.jobs.manifest",
        multiple_outputs=True,
        request={"dataset": dataset, "raw_index": raw["index_path"], "layout": plan["layout"]},
    )
    version = manifest.output["version"]
    split_id = flows.split(dataset, version, plan["split_options"])["split_id"]
    chosen = {"dataset": dataset, "version": version, "split_id": split_id}
    validate = SparkJobOperator(
        **SPARK,
        task_id="validate",
        job="spark_apps.jobs.validate",
        request={**chosen, "limits": plan["limits"]},
    )
    preprocess = SparkJobOperator(
        **SPARK,
        task_id="preprocess",
        job="spark_apps.jobs.preprocess",
        request={**chosen, "transforms": plan["transforms"], "features": plan["features"]},
    )
    flows.eda(dataset, version)
    split_eda = flows.eda.override(task_id="split_eda")(dataset, version, split_id)
    validate >> [split_eda, preprocess]
    preprocess >> flows.publish(dataset, version, split_id, plan["configs"])


prepare_dataset()
