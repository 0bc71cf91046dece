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
from darkroom.metrics import METRIC_NAMES
from darkroom.package import PackageInfo
from darkroom.storage import Storage
from training import receipts
from training.comparing.measured import Measured
from training.config import TrainingConfig
from training.experiments.crossval_page import estimate_page, fold_page
from training.experiments.fitting import Step, fit_fold, read_fold
from training.experiments.folds import read_folds, share_of_test
from training.experiments.label_issues import report_label_issues
from training.experiments.nested import Nested
from training.experiments.placement import Place, Unit
from training.experiments.tested import ALL_FOLDS, Tested, read_answers, tested_on, together
from training.kinds import Job

log = logging.getLogger(__name__)

_COLUMNS = ["content_id", "path", "unit", "fold", "truth", "predicted", "probabilities"]  # of out-of-fold.parquet


def estimate(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, place: Place, nested: Nested
) -> dict[str, Any]:
    """What ``cross_validate`` returns, logged and drawn, with "page" and "label_issues" (count, page, table)."""
    found, tested = cross_validate(lake, task, config, place, nested)
    folder = training_reports(task["model"], nested.parent)
    predictions = pq.read_table(io.BytesIO(lake.read(found["predictions"])))
    classes = sorted(set(predictions["truth"].to_pylist()))
    found["label_issues"] = issues = report_label_issues(lake, task, classes, predictions, folder)
    found["page"] = f"{folder}/kfold.html"
    lake.write(found["page"], estimate_page(task, config.primary_metric, found, tested).encode())
    nested.log_here(flat(found), {"kfold.html": found["page"], "label-issues.html": issues["page"]}, lake)
    return found


def cross_validate(
    lake: Storage, task: Mapping[str, Any], config: TrainingConfig, place: Place, nested: Nested
) -> tuple[dict[str, Any], Tested]:
    """Fits every fold that is not done yet, each an MLflow run below the config's, and sums them up.

    Returns {"folds", "images", "metrics": {name: mean, low, high, values}, "pooled": {name: [value, low, high]},
    "predictions": lake path}, and how all images together were answered.
    """
    folds, units = read_folds(lake, task["dataset"], task["version"], task["split_id"], config.folds)
    once = config.once()
    paths = [fold_path(task, once, config.folds, number) for number in range(1, config.folds + 1)]
    results: dict[int, dict[str, Any]] = {}
    runs: dict[int, str] = {}

    answers: dict[int, pa.Table] = {}

    def page_of(number: int, result: Mapping[str, Any]) -> str:
        answers[number] = read_answers(lake, paths[number - 1], number, folds[number - 1], units)
        info = PackageInfo.model_validate(result["info"])
        return fold_page(task, config, number, tested_on(lake, task, "test", answers[number], info), result)

    for number, path in enumerate(paths, 1):
        if found := read_fold(lake, path):
            log.info("Fold %d of %d was done before.", number, config.folds)
            results[number] = found
            run_id = _start(nested, task, number)
            nested.log_page(run_id, page_of(number, found))
            _finish(nested, run_id, found, found["steps"])

    def waiting() -> Iterator[Unit]:
        for number, (fold, path) in enumerate(zip(folds, paths, strict=True), 1):
            if number not in results:
                runs[number] = _start(nested, task, number)
                job = Job(lake, task["dataset"], fold, once, task["seed"]).telling(nested.steps_to(runs[number]))
                yield Unit(number, job, partial(fit_fold, dict(task), path))

    with nested.ending(runs):
        for number, result in place.run(waiting()):
            results[number] = result
            nested.log_page(runs[number], page_of(number, result))
            _finish(nested, runs[number], result)
            test = result["test"]
            log.info(
                "Fold %d of %d: test %s %.3f, %.1f s",
                *(number, config.folds, METRIC_NAMES[config.primary_metric]),
                *(test.get(config.primary_metric, float("nan")), result["seconds"]),
            )
    table = pa.concat_tables(answers.values()).sort_by("content_id")  # every image once
    infos = [PackageInfo.model_validate(results[number]["info"]) for number in sorted(results)]
    tested = tested_on(lake, task, ALL_FOLDS, table, together(infos))
    path = f"{training_reports(task['model'], nested.parent)}/out-of-fold.parquet"
    sink = io.BytesIO()
    pq.write_table(table.select(_COLUMNS), sink, compression="zstd")
    lake.write(path, sink.getvalue())
    ratio = float(np.mean([share_of_test(fold) for fold in folds]))
    tests = [results[number]["test"] for number in sorted(results)]
    summary = {
        "folds": config.folds,
        "images": table.num_rows,
        "metrics": {name: found for name in METRIC_NAMES if (found := over_folds(name, tests, ratio))},
        "pooled": _pooled(tested.measured),
        "predictions": path,
    }
    return summary, tested


def fold_path(task: Mapping[str, Any], once: TrainingConfig, folds: int, number: int) -> str:
    """Where a fold's outcome is kept; another version, split, config, seed or code is another place."""
    key = receipts.training_key(task["version"], task["split_id"], once, task["seed"])
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
    for name, values in summary["pooled"].items():
        told = zip(("", "_low", "_high"), values, strict=True)
        found |= {f"kfold_pooled_{name}{end}": value for end, value in told if value is not None}
    return found | {"kfold_label_issues": float(summary["label_issues"]["count"])}


def _start(nested: Nested, task: Mapping[str, Any], number: int) -> str:
    return nested.start(f"{task['name']} fold {number}", {"darkroom.fold": str(number)})


def _finish(nested: Nested, run_id: str, result: Mapping[str, Any], steps: Sequence[Step] = ()) -> None:
    numbers = {f"{part}_{name}": value for part in ("val", "test") for name, value in result[part].items()}
    numbers |= {**result["facts"], "seconds": result["seconds"]}
    nested.finish(run_id, numbers, steps)


def _pooled(measured: Measured) -> dict[str, list[float | None]]:
    """Each metric of all images taken together, and its bootstrap interval, which keeps units whole."""
    return {name: [measured.metrics[name], *(measured.intervals[name] or (None, None))] for name in METRIC_NAMES}
