"""What MLflow is told of an evaluation: the same names, tags and steps in every run, so that the runs compare well."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from darkroom.metrics import flat_metrics
from darkroom.storage import Storage
from training import tracking
from training.comparing.comparison import Comparison, Entry, measured_as_dict
from training.comparing.datasets import log_datasets
from training.comparing.measured import Measured
from training.comparing.runs_view import share_view, view_link
from training.data import read_split

PARTS = ("train", "val", "test")


def tell_mlflow(
    lake: Storage, folder: str, comparison: Comparison, pictures: Mapping[str, Mapping[str, bytes]]
) -> None:
    """A child run gets its test metrics with intervals, plots, page and figures; the parent gets the comparison."""
    plan, best = comparison.plan, comparison.best
    parent = plan["parent_run_id"]
    client = tracking.open_client()
    split = read_split(lake, plan["dataset"], plan["split_id"])
    with tracking.reached():
        for entry in comparison.entries:
            run_id = entry.result["run_id"]
            tracking.log_step(client, run_id, 0, numbers_of(entry))
            tracking.log_figures(run_id, pictures[entry.config])
            page = lake.read(f"{folder}/configs/{entry.config}.html").decode()
            client.log_text(run_id, page, "evaluation.html")
            client.log_text(run_id, _json(entry), "evaluation.json")
        runs = {entry.result["run_id"]: PARTS for entry in comparison.entries}
        log_datasets(client, lake, plan, split, {parent: PARTS, **runs})
        client.log_text(parent, lake.read(f"{folder}/index.html").decode(), "comparison.html")
        client.log_text(parent, lake.read(f"{folder}/comparison.json").decode(), "comparison.json")
        if client.get_run(parent).info.status == "FAILED":  # a config failed, its task was cleared, and goes on here
            client.update_run(parent, status="RUNNING")
        client.set_tag(parent, "darkroom.challenger", best.config)
        client.set_tag(parent, "darkroom.comparison", comparison.sentence)
        tags = {run_id: client.get_run(run_id).data.tags for run_id in runs}
        before = [entry for entry in comparison.entries if tags[entry.result["run_id"]].get(tracking.PARENT) != parent]
        client.set_tag(parent, "mlflow.note.content", _note(comparison, before))
        tracking.log_step(client, parent, 0, _with_bounds(best.test, "challenger_test_"))
        share_view(client, plan["experiment_id"], comparison.metric)


def numbers_of(entry: Entry) -> Mapping[str, float]:
    """The metrics that every child run has under the same names: test with intervals, val's intervals, and costs."""
    costs = {"images_per_second": entry.images_per_second, "train_seconds": entry.result["seconds"]}
    if entry.package_bytes is not None:
        costs["package_megabytes"] = entry.package_bytes / 1e6
    return {
        **_with_bounds(entry.test, "test_"),
        **_bounds(entry.val, "val_"),
        **{name: float(value) for name, value in costs.items() if value is not None},
    }


def _with_bounds(measured: Measured, prefix: str) -> dict[str, float]:
    return flat_metrics(measured.metrics, prefix) | _bounds(measured, prefix)


def _bounds(measured: Measured, prefix: str) -> dict[str, float]:
    """The ends of each interval, as <metric>_low and <metric>_high."""
    flat = {}
    for name, bounds in measured.intervals.items():
        if bounds:
            flat[f"{prefix}{name}_low"], flat[f"{prefix}{name}_high"] = bounds
    return flat


def _json(entry: Entry) -> str:
    content = {"val": measured_as_dict(entry.val), "test": measured_as_dict(entry.test)}
    content |= {"slices": entry.slices.as_dict()}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _note(comparison: Comparison, before: Sequence[Entry]) -> str:
    """What the parent run's page says at its top. ``before``: what earlier trainings had fitted, below their runs."""
    champion, experiment = comparison.champion, comparison.plan["experiment_id"]
    told = f"\n\nAgainst {champion.champion}: {champion.sentence or champion.reason}" if champion else ""
    if before:
        links = [f"[{entry.config}]({tracking.run_link(experiment, entry.result['run_id'])})" for entry in before]
        told += f"\n\nTrained before, and not below this run: {', '.join(links)}."
    table = f"[All trainings side by side]({view_link(experiment)})"
    return f"{comparison.sentence}{told}\n\nThe artifact `comparison.html` has the whole comparison. {table}."
