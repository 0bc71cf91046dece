"""Chooses the challenger on val and measures every config once on test, each through its own package."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import training_reports
from darkroom.errors import DataError
from darkroom.metrics import flat_metrics, interval, predict_labels, score
from darkroom.model import PackageInfo, load_package
from darkroom.storage import Storage
from training import receipts, tracking
from training.comparison import comparison_page
from training.data import Examples, read_examples, read_split
from training.packaging import THREADS, figures_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One config on one part of a split: metrics, interval of the balanced accuracy, and every prediction."""

    config: str
    part: str
    info: PackageInfo
    metrics: Mapping[str, Any]
    interval: tuple[float, float] | None
    truth: np.ndarray
    probabilities: np.ndarray
    milliseconds: float | None = None  # to predict one image


def evaluate_configs(lake: Storage, plan: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``training.flow.evaluate`` does. ``results`` are those of this run; the plan holds earlier ones.

    Raises DataError where a config has no result, or where none can be measured on val.
    """
    if not plan["changed"]:
        decided = receipts.find_gate(lake, plan["model"], plan["gate_key"])
        if decided is not None:
            log.info("Nothing changed: the comparison is %s.", decided["evaluation"]["comparison"])
            return {**decided["evaluation"], "plan": plan, "changed": False}
    complete = _complete(plan, results)
    challenger = choose_challenger(complete, plan["primary_metric"])
    log.info("The challenger is %s, best on val by %s.", challenger["config"], plan["primary_metric"])
    split = read_split(lake, plan["dataset"], plan["split_id"])
    folder = training_reports(plan["model"], plan["parent_run_id"])
    client = tracking.open_client()
    measured: list[Measured] = []
    for result in complete:
        model = load_package(lake, result["package"], package_id=result["package_id"], threads=THREADS)
        for part in ("val", "test"):
            examples = read_examples(lake, plan["dataset"], split, part, model.transform)
            started = time.perf_counter()
            probabilities = model.predict(examples.pixels)
            milliseconds = (time.perf_counter() - started) * 1000 / max(1, len(probabilities))
            found = measure_part(result["config"], part, model.info, examples, probabilities, milliseconds)
            measured.append(found)
            if part == "test":
                table = _predictions(examples, model.label_indices(probabilities), probabilities)
                lake.write(predictions_path(folder, result["config"]), _parquet(table))
        test = measured[-1]
        with tracking.reached():
            tracking.log_step(client, result["run_id"], 0, flat_metrics(test.metrics, "test_"))
            pictures = figures_of("test", test.info, test.metrics, test.truth, test.probabilities)
            tracking.log_figures(result["run_id"], pictures)
    page = f"{folder}/index.html"
    lake.write(page, comparison_page(plan, complete, challenger, measured).encode())
    test_metrics = {m.config: _small(m) for m in measured if m.part == "test"}
    summary = {"challenger": challenger, "test": test_metrics, "val": {m.config: _small(m) for m in measured[::2]}}
    lake.write(f"{folder}/summary.json", json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False).encode())
    with tracking.reached():
        client.log_text(plan["parent_run_id"], lake.read(page).decode(), "comparison.html")
        client.set_tag(plan["parent_run_id"], "darkroom.challenger", challenger["config"])
        chosen = next(m for m in measured if m.part == "test" and m.config == challenger["config"])
        tracking.log_step(client, plan["parent_run_id"], 0, flat_metrics(chosen.metrics, "challenger_test_"))
    return {
        "plan": plan,
        "challenger": challenger,
        "results": complete,
        "test": test_metrics,
        "comparison": page,
        "page": page,
        "mlflow_url": plan["mlflow_url"],
        "changed": True,
    }


def choose_challenger(results: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The config that is best on val; of equal ones the one with the lower log loss, then the first by name."""
    usable = [result for result in results if result["val"].get(metric) is not None]
    if not usable:
        raise DataError(f"No config has a {metric} on val. Expected images of every class there. Change the split.")

    def order(result: dict[str, Any]) -> tuple[float, float, str]:
        loss = result["val"].get("log_loss")
        return (-result["val"][metric], np.inf if loss is None else loss, result["config"])

    return min(usable, key=order)


def measure_part(
    config: str,
    part: str,
    info: PackageInfo,
    examples: Examples,
    probabilities: np.ndarray,
    milliseconds: float | None = None,
) -> Measured:
    """Metrics of predictions for a part of a split, with a bootstrap interval that keeps groups whole."""
    metrics = score(examples.truth, probabilities, info.classes, info.positive_class, info.threshold)
    positive = None if info.positive_class is None else info.classes.index(info.positive_class)
    predicted = predict_labels(probabilities, positive, info.threshold)
    bounds = interval(examples.truth, predicted, len(info.classes), np.array(examples.group))
    return Measured(config, part, info, metrics, bounds, examples.truth, probabilities, milliseconds)


def predictions_path(folder: str, config: str) -> str:
    return f"{folder}/test-{config}.parquet"


def _complete(plan: dict[str, Any], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One result a config, in the plan's order."""
    known = {result["config"]: result for result in results}
    complete = []
    for task in plan["configs"]:
        result = known.get(task["name"]) or task["trained"]
        if result is None:
            raise DataError(f"The config {task['name']} has no result. Expected one of each config that was planned.")
        complete.append(result)
    return complete


def _predictions(examples: Examples, predicted: np.ndarray, probabilities: np.ndarray) -> pa.Table:
    """A row an image: content_id, group, truth, predicted, score (of the predicted label), probabilities."""
    names = np.array(examples.classes, dtype=object)
    return pa.table(
        {
            "content_id": examples.content_ids,
            "group": examples.group,
            "truth": names[examples.truth].tolist(),
            "predicted": names[predicted].tolist(),
            "score": probabilities[np.arange(len(predicted)), predicted].astype(np.float64),
            "probabilities": pa.array(probabilities.astype(np.float64).tolist(), type=pa.list_(pa.float64())),
        }
    )


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _small(measured: Measured) -> dict[str, Any]:
    """The numbers that go through XCom."""
    bounds = list(measured.interval) if measured.interval else None
    kept = {name: value for name, value in measured.metrics.items() if name != "confusion"}
    return {**kept, "balanced_accuracy_interval": bounds, "milliseconds": measured.milliseconds}
