"""What MLflow is told of the data: train, val and test of a split as dataset inputs of a run, without a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.contract import splits_table
from darkroom.storage import Storage

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONTEXT = "mlflow.data.context"  # MLflow's own tag: how a run used a dataset
SCHEMA = {"mlflow_colspec": [{"type": "binary", "name": "image"}, {"type": "string", "name": "label"}]}


def log_datasets(
    client: MlflowClient, lake: Storage, plan: Mapping[str, Any], split: pa.Table, runs: Mapping[str, Sequence[str]]
) -> None:
    """Names the parts of a split as inputs of runs: {run id: parts}. Naming one twice changes nothing.

    The digest goes by the images and labels of the part, so equal data has an equal digest in every experiment; the
    source is the splits table on the lake.
    """
    from mlflow.entities import DatasetInput, InputTag

    parts = {part for wanted in runs.values() for part in wanted}
    found = {part: dataset_of(lake, plan, split, part) for part in sorted(parts)}
    for run_id, wanted in runs.items():
        inputs = [DatasetInput(found[part], [InputTag(CONTEXT, part)]) for part in wanted]
        client.log_inputs(run_id, inputs)


def dataset_of(lake: Storage, plan: Mapping[str, Any], split: pa.Table, part: str) -> Any:
    """An MLflow dataset entity: name, digest, source, schema, and how many images of each class there are."""
    from mlflow.entities import Dataset

    rows = split.filter(pc.equal(split["split"], part))
    labels = rows["label"].to_pylist()
    told = sorted(zip(rows["content_id"].to_pylist(), labels, strict=True))
    digest = hashlib.sha256("\n".join(f"{key} {label}" for key, label in told).encode()).hexdigest()[:32]
    name = splits_table(plan["dataset"]).path
    where = {"version": plan["version"], "split_id": plan["split_id"], "split": part}
    source = {"uri": lake.uri(name), **where}
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    return Dataset(
        name=f"{plan['dataset']}/{part}",
        digest=digest,
        source_type="darkroom_lake",
        source=json.dumps(source, sort_keys=True),
        schema=json.dumps(SCHEMA),
        profile=json.dumps({"num_rows": len(labels), **counts}),
    )
