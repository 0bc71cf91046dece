"""k-fold: fits a config on each fold, keeps what it says of the images it has not seen, and says how good that is.

Every fold leaves one file on the lake, named by what decides its outcome: a training that was killed goes on where it
stopped. The model that is offered to the gate is never one of these: they only say how good the config is.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import stable_hash, training_reports
from darkroom.metrics import METRIC_NAMES, balanced_accuracy, confusion, interval
from darkroom.storage import Storage
from training import receipts
from training.config import TrainingConfig
from training.experiments.crossval_page import estimate_page
from training.experiments.fitting import fit_fold, read_fold, read_predictions
from training.experiments.folds import read_folds, share_of_test
from training.experiments.label_issues import report_label_issues
from training.experiments.nested import Nested
from training.experiments.placement import Place, Unit
from training.kinds import Job

log = logging.getLogger(__name__)


def estimate(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, place: Place, nested: Nested
) -> dict[str, Any]:
    """What ``cross_validate`` returns, logged and drawn, with "page" and "label_issues" (count, page, table)."""
    found = cross_validate(lake, task, config, place, nested)
    folder = training_reports(task["model"], nested.parent)
    predictions = pq.read_table(io.BytesIO(lake.read(found["predictions"])))
    classes = sorted(set(predictions["truth"].to_pylist()))
    found["label_issues"] = issues = report_label_issues(lake, task, classes, predictions, folder)
    found["page"] = f"{folder}/kfold.html"
    lake.write(found["page"], estimate_page(task, config.primary_metric, found).encode())
    nested.log_here(flat(found), {"kfold.html": found["page"], "label-issues.html": issues["page"]}, lake)
    return found


def cross_validate(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, place: Place, nested: Nested
) -> dict[str, Any]:
    """Fits every fold that is not done yet, each an MLflow run below the config's, and sums them up.

    Returns {"folds", "images", "metrics": {name: mean, low, high, folds}, "pooled", "predictions": lake path}.
    """
    folds, units = read_folds(lake, task["dataset"], task["version"], task["split_id"], config.folds)
    once = config.once()
    paths = [fold_path(task, once, config.folds, number) for number in range(1, config.folds + 1)]
    results: dict[int, dict[str, Any]] = {}
    runs: dict[int, str] = {}
    for number, path in enumerate(paths, 1):
        if found := read_fold(lake, path):
            log.info("Fold %d of %d was done before.", number, config.folds)
            results[number] = found
            _finish(nested, _start(nested, task, number), found, live=False)

    def waiting() -> Iterator[Unit]:
        for number, (fold, path) in enumerate(zip(folds, paths, strict=True), 1):
            if number not in results:
                runs[number] = _start(nested, task, number)
                job = Job(lake, task["dataset"], fold, once, task["seed"])
                if place.live:
                    job = job.telling(nested.steps_to(runs[number]))
                yield Unit(number, job, partial(fit_fold, dict(task), path))

    with nested.ending(runs):
        for number, result in place.run(waiting()):
            results[number] = result
            _finish(nested, runs[number], result, live=place.live)
            test = result["test"]
            log.info(
                "Fold %d of %d: test %s %.3f, %.1f s",
                *(number, config.folds, METRIC_NAMES[config.primary_metric]),
                *(test.get(config.primary_metric, float("nan")), result["seconds"]),
            )
    table = _together(lake, paths, folds, units)
    path = f"{training_reports(task['model'], nested.parent)}/out-of-fold.parquet"
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    lake.write(path, sink.getvalue())
    ratio = float(np.mean([share_of_test(fold) for fold in folds]))
    tests = [results[number]["test"] for number in sorted(results)]
    return {
        "folds": config.folds,
        "images": table.num_rows,
        "metrics": {name: found for name in METRIC_NAMES if (found := over_folds(name, tests, ratio))},
        "pooled": _pooled(table),
        "predictions": path,
    }


def fold_path(task: Mapping[str, Any], once: TrainingConfig, folds: int, number: int) -> str:
    """Where a fold's outcome is kept; another version, split, config, seed or code is another place."""
    key = receipts.training_key(task["version"], task["split_id"], once.digest, once.input_hash, task["seed"])
    return f"{training_reports(task['model'], 'folds')}/{stable_hash([key, folds])}/{number}.parquet"


def over_folds(name: str, tests: Sequence[Mapping[str, float]], ratio: float) -> dict[str, Any] | None:
    """Mean and 95 % interval of a metric over folds; None where a fold has no such metric.

    The interval is Student's t over the folds, with the variance of Nadeau and Bengio 2003 (doi
    10.1023/A:1024068626366), s² (1/K + n_test/n_train): the folds learn from mostly the same images, and the plain s²/K
    would promise too much. It is cut to what the metric can be. ``ratio`` is n_test/n_train.
    """
    from scipy.stats import t

    values = np.array([test[name] for test in tests if name in test])
    if len(values) < len(tests):
        return None
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = float(t.ppf(0.975, len(values) - 1)) * spread * float(np.sqrt(1 / len(values) + ratio))
    highest = float("inf") if name == "log_loss" else 1.0
    low, high = max(0.0, mean - half), min(highest, mean + half)
    return {"mean": mean, "low": low, "high": high, "values": values.tolist()}


def flat(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary as MLflow's metrics: kfold_<metric>, and _low and _high of each."""
    found: dict[str, float] = {}
    for name, value in summary["metrics"].items():
        found |= {f"kfold_{name}": value["mean"]} | {f"kfold_{name}_{end}": value[end] for end in ("low", "high")}
    value, low, high = summary["pooled"]["balanced_accuracy"]
    pooled = "kfold_pooled_balanced_accuracy"
    found |= {pooled: value, f"{pooled}_low": low, f"{pooled}_high": high}
    return found | {"kfold_label_issues": float(summary["label_issues"]["count"])}


def _start(nested: Nested, task: Mapping[str, Any], number: int) -> str:
    return nested.start(f"{task['name']} fold {number}", {"darkroom.fold": str(number)})


def _finish(nested: Nested, run_id: str, result: Mapping[str, Any], *, live: bool) -> None:
    numbers = {f"{part}_{name}": value for part in ("val", "test") for name, value in result[part].items()}
    numbers |= {**result["facts"], "seconds": result["seconds"]}
    nested.finish(run_id, numbers, () if live else result["steps"])


def _together(lake: Storage, paths: Sequence[str], folds: Sequence[pa.Table], units: pa.Table) -> pa.Table:
    """Every image once, sorted: content_id, path, unit, fold, truth, predicted, probabilities."""
    parts = []
    for number, path in enumerate(paths, 1):
        found = read_predictions(lake, path)
        parts.append(found.append_column("fold", pa.array([number] * found.num_rows, pa.int32())))
    whole = pa.concat_tables(parts).sort_by("content_id")
    told = {"path": pa.concat_tables(folds), "unit": units}  # undersampling leaves images out of single folds
    for name, table in told.items():
        known = dict(zip(table["content_id"].to_pylist(), table[name].to_pylist(), strict=True))
        whole = whole.append_column(name, pa.array([known[key] for key in whole["content_id"].to_pylist()]))
    return whole.select(["content_id", "path", "unit", "fold", "truth", "predicted", "probabilities"])


def _pooled(table: pa.Table) -> dict[str, list[float]]:
    """The balanced accuracy of all images taken together, with a bootstrap interval that keeps units whole."""
    classes = sorted(set(table["truth"].to_pylist()))
    index = {name: k for k, name in enumerate(classes)}
    truth, predicted = (np.array([index[name] for name in table[c].to_pylist()]) for c in ("truth", "predicted"))
    bounds = interval(truth, predicted, len(classes), table["unit"].to_numpy())
    value = float(balanced_accuracy(confusion(truth, predicted, len(classes))))
    return {"balanced_accuracy": [value, *(bounds or (value, value))]}
