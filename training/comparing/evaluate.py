"""Chooses the challenger on val and measures every config once on test, each through its own package."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import training_reports
from darkroom.errors import DataError
from darkroom.model import load_package
from darkroom.storage import Storage
from training import receipts
from training.comparing.champion_match import against_champion
from training.comparing.comparison import Comparison, Entry, best_first
from training.comparing.comparison_page import comparison_page
from training.comparing.config_page import config_page
from training.comparing.differences import compare, who_won
from training.comparing.evaluation_runs import tell_mlflow
from training.comparing.explained import Explained, explain
from training.comparing.measured import Answered, Measured, answered, measure_part, predictions_path
from training.comparing.mistakes import Mistake, worst_mistakes
from training.comparing.slices import image_slices, slices_on
from training.data import Examples, read_examples, read_split
from training.deciding.scoring import image_rows
from training.packaging import THREADS, figures_of
from training.policy import gate_policy

log = logging.getLogger(__name__)


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
    folder = training_reports(plan["model"], plan["parent_run_id"])
    comparison = _compare(lake, plan, complete, challenger, folder)
    log.info("%s", comparison.sentence)
    pictures = {one.config: _pictures(one.test) for one in comparison.entries}
    page = _report(lake, folder, comparison, pictures)
    told = {part: {one.config: _small(getattr(one, part)) for one in comparison.entries} for part in ("val", "test")}
    summary = {"challenger": challenger, "sentence": comparison.sentence, **told}
    lake.write(f"{folder}/summary.json", json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False).encode())
    tell_mlflow(lake, folder, comparison, pictures)
    return {
        "plan": plan,
        "challenger": challenger,
        "results": complete,
        "test": told["test"],
        "sentence": comparison.sentence,
        "comparison": page,
        "page": page,
        "mlflow_url": plan["mlflow_url"],
        "changed": True,
    }


def _compare(
    lake: Storage, plan: dict[str, Any], results: Sequence[dict[str, Any]], challenger: dict[str, Any], folder: str
) -> Comparison:
    """Every config through its package on val and test, and all of them against the challenger."""
    split = read_split(lake, plan["dataset"], plan["split_id"])
    answers: dict[str, dict[str, Answered]] = {"val": {}, "test": {}}
    examples: dict[str, Examples] = {}
    mistakes: dict[str, list[Mistake]] = {}
    explained: dict[str, Explained] = {}
    rows: list[dict[str, Any]] = []
    for result in results:
        name = result["config"]
        model = load_package(lake, result["package"], package_id=result["package_id"], threads=THREADS)
        for part, told in answers.items():
            examples[part] = read_examples(lake, plan["dataset"], split, part, model.transform)
            started = time.perf_counter()
            probabilities = model.predict(examples[part].pixels)
            told[name] = answered(model.info, probabilities, time.perf_counter() - started)
        test = examples["test"]
        rows = rows or image_rows(lake, plan, test.content_ids)
        mistakes[name] = worst_mistakes(answers["test"][name], test, [row["path"] for row in rows])
        explained[name] = explain(model, test, answers["test"][name].labels, answers["test"][name].scores)
        table = _predictions(test, answers["test"][name])
        lake.write(predictions_path(folder, name), _parquet(table))
    measured = {
        part: measure_part(part, examples[part].truth, np.array(examples[part].group), told)
        for part, told in answers.items()
    }
    kinds, fewest = image_slices(rows), gate_policy().slice_min_images
    entries = [
        Entry(
            *(result, val, test, _size_of(lake, result), slices_on(test, kinds, fewest)),
            *(mistakes[result["config"]], explained[result["config"]]),
        )
        for result, val, test in zip(results, measured["val"], measured["test"], strict=True)
    ]
    metric = plan["primary_metric"]
    entries = best_first(entries, metric)
    mine = next(one.test for one in entries if one.config == challenger["config"])
    compared = compare(mine, [one.test for one in entries if one.test is not mine])
    sentence = who_won(mine.config, compared, metric, len(mine.truth))
    champion = against_champion(lake, plan, challenger, mine, examples["test"].content_ids)
    return Comparison(plan, challenger, entries, compared, sentence, champion)


def _pictures(test: Measured) -> dict[str, bytes]:
    return figures_of("test", test.info, test.metrics, test.truth, test.probabilities)


def _report(lake: Storage, folder: str, comparison: Comparison, pictures: Mapping[str, Mapping[str, bytes]]) -> str:
    """Writes the page, a page a config, and the JSON; returns the page's path."""
    page = f"{folder}/index.html"
    for entry in comparison.entries:
        lake.write(
            f"{folder}/configs/{entry.config}.html",
            config_page(comparison.plan, entry, pictures[entry.config]).encode(),
        )
    content = json.dumps(comparison.as_dict(), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    lake.write(f"{folder}/comparison.json", content.encode())
    lake.write(page, comparison_page(comparison).encode())
    return page


def _size_of(lake: Storage, result: Mapping[str, Any]) -> int | None:
    found = lake.stat(result["package"])
    return None if found is None else found.size


def choose_challenger(results: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The config that is best on val; of equal ones the one with the lower log loss, then the first by name."""
    usable = [result for result in results if result["val"].get(metric) is not None]
    if not usable:
        raise DataError(f"No config has a {metric} on val. Expected images of every class there. Change the split.")

    def order(result: dict[str, Any]) -> tuple[float, float, str]:
        loss = result["val"].get("log_loss")
        return (-result["val"][metric], np.inf if loss is None else loss, result["config"])

    return min(usable, key=order)


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


def _predictions(examples: Examples, answers: Answered) -> pa.Table:
    """A row an image: content_id, group, truth, predicted, score (of the predicted label), probabilities."""
    names = np.array(examples.classes, dtype=object)
    return pa.table(
        {
            "content_id": examples.content_ids,
            "group": examples.group,
            "truth": names[examples.truth].tolist(),
            "predicted": names[answers.labels].tolist(),
            "score": answers.scores,
            "probabilities": pa.array(answers.probabilities.astype(np.float64).tolist(), type=pa.list_(pa.float64())),
        }
    )


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _small(measured: Measured) -> dict[str, Any]:
    """The numbers that go through XCom."""
    kept = {name: value for name, value in measured.metrics.items() if name != "confusion"}
    bounds = {f"{name}_interval": list(found) if found else None for name, found in measured.intervals.items()}
    return {**kept, **bounds, "milliseconds": measured.milliseconds}
