"""What one process does: one fit, for a package or for a fold, with what it tells of its steps.

Each takes a Job and gives back small plain data, so that it can be done in this process or as a task of Spark.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.metrics import flat_metrics, score
from darkroom.storage import Storage
from training.comparing.measured import Answered
from training.comparing.mistakes import worst_mistakes
from training.kinds import Fitted, Job, fit
from training.packaging import Assembled, Built, assemble, build_package

log = logging.getLogger(__name__)

Step = tuple[int, dict[str, float]]
_RESULT = b"darkroom.result"  # where a Parquet file's schema keeps the result that belongs to its rows


@dataclass(frozen=True)
class Packaged:
    """A model package on the lake, and numbers and pictures about its fit."""

    built: Built
    facts: dict[str, float]
    figures: dict[str, bytes]


def fit_recorded(job: Job, steps: list[Step]) -> Fitted:
    """Fits; the metrics of each step go to ``steps`` before ``job.on_step`` is told."""

    def on_step(step: int, values: Mapping[str, float]) -> None:
        steps.append((step, {name: float(value) for name, value in values.items()}))
        job.on_step(step, values)

    return fit(replace(job, on_step=on_step))


def fit_package(task: Mapping[str, Any], job: Job) -> Packaged | None:
    """Fits on the split and writes the package; None for a worker of a team that does not lead it."""
    fitted = fit(job)
    if not job.team.leads:
        return None
    built = build_package(job.lake, task, job.config, fitted)
    return Packaged(built, dict(fitted.facts), dict(fitted.figures))


def fit_fold(task: Mapping[str, Any], path: str, job: Job) -> dict[str, Any] | None:
    """Fits on a fold's train, chooses on its val, predicts its test: all of it ends in one Parquet file at ``path``.

    Returns what ``read_fold`` returns later; None for a worker of a team that does not lead it.
    """
    started = time.monotonic()
    steps: list[Step] = []
    fitted = fit_recorded(job, steps)
    if not job.team.leads:
        return None
    made = assemble(job.lake, task, job.config, fitted, job.split)
    predictions, test = _on_test(made, job)
    result = {
        "val": flat_metrics(made.info.metrics),
        "test": flat_metrics(test),
        "info": made.info.model_dump(mode="json", exclude={"metrics"}),
        "facts": {name: float(value) for name, value in fitted.facts.items()},
        "steps": steps,
        "seconds": round(time.monotonic() - started, 3),
    }
    sink = io.BytesIO()
    kept = predictions.replace_schema_metadata({_RESULT: json.dumps(result, sort_keys=True).encode()})
    pq.write_table(kept, sink, compression="zstd")
    job.lake.write(path, sink.getvalue())
    return result


def _on_test(made: Assembled, job: Job) -> tuple[pa.Table, dict[str, Any]]:
    examples = job.examples("test")
    probabilities = made.model.predict(examples.pixels)
    info = made.info
    measured = score(examples.truth, probabilities, info.classes, info.positive_class, info.threshold)
    predicted = made.model.label_indices(probabilities)
    names = np.array(info.classes, dtype=object)
    worst = worst_mistakes(Answered(info, probabilities, predicted), examples, examples.content_ids)
    pictures = {one.content_id: one.picture for one in worst}
    columns = {
        "content_id": examples.content_ids,
        "truth": names[examples.truth].tolist(),
        "predicted": names[predicted].tolist(),
        "probabilities": pa.array(probabilities.astype(np.float64).tolist(), type=pa.list_(pa.float64())),
        "picture": pa.array([pictures.get(content_id) for content_id in examples.content_ids], type=pa.binary()),
    }
    return pa.table(columns), measured


def read_fold(lake: Storage, path: str) -> dict[str, Any] | None:
    """The result of a fold that was done; None where there is none.

    It has val and test (flat metrics), info (``PackageInfo`` of its model), facts, steps and seconds.
    """
    if lake.stat(path) is None:
        return None
    with lake.open(path) as stream:
        result: dict[str, Any] = json.loads(pq.read_schema(stream).metadata[_RESULT])
    return result


def read_predictions(lake: Storage, path: str) -> pa.Table:
    """A fold's predictions: content_id, truth, predicted, probabilities (in class order), picture (of the worst)."""
    return pq.read_table(io.BytesIO(lake.read(path))).replace_schema_metadata(None)
