"""What has to hold after any number of days: looked at on the lake and in MLflow alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from darkroom import champions, contract
from darkroom.inbox import arrived, inputs_fingerprint
from darkroom.lake_check import DAMAGED, check_lake
from darkroom.lineage import lineage
from darkroom.storage import Storage
from darkroom.tables import Table

_CHAIN = ("image", "dataset version", "split", "examples", "run", "model version", "gate verdict", "champion")


def broken_invariants(
    lake: Storage, model: str, feed: str, dates: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """A sentence for everything that does not hold; ``say`` is told of each invariant that does."""
    checks: list[tuple[str, Iterable[str]]] = [
        (f"all {len(dates)} dates have the rows of their images", _partitions(lake, model, feed, dates)),
        ("every date's rows are explained from pixels to champion", _lineage(lake, model, feed, dates)),
        ("the champion history is whole, and each promotion had a yes of the gate", _champions(lake, model)),
        ("MLflow has no run that nothing names, and its alias follows the history", _mlflow(lake, model)),
        ("no image that a split tests with was trained on", _tested(lake, model)),
    ]
    wrong = list(_damage(lake))
    if wrong:
        return wrong  # the rest would read what is not there
    say("Holds: no file of the lake is torn or missing.")
    for what, found in checks:
        sentences = list(found)
        wrong += sentences
        if not sentences:
            say(f"Holds: {what}.")
    return wrong


def _damage(lake: Storage) -> Iterable[str]:
    for finding in check_lake(lake, lambda done, of: None).findings:
        if finding.kind in DAMAGED:
            yield str(finding)


def _partitions(lake: Storage, model: str, feed: str, dates: Sequence[str]) -> Iterable[str]:
    table = Table(lake, contract.predictions_table(model))
    partitions = [{"dt": dt, "feed": feed, "origin": contract.BATCH} for dt in dates]
    for partition, commit in zip(partitions, table.last_commits(partitions), strict=True):
        dt = partition["dt"]
        if commit is None:
            yield f"{dt} was never classified"
            continue
        blobs = arrived(lake, feed, dt)
        if commit["inputs"] != inputs_fingerprint(blobs):
            yield f"{dt} was classified from other images than its inbox holds"
        rows = table.read(partition, columns=["path", "model_version"])
        folder = f"{contract.inbox(feed, dt)}/"
        if sorted(rows["path"].to_pylist()) != sorted(blob.path.removeprefix(folder) for blob in blobs):
            yield f"{dt} has {rows.num_rows} rows for {len(blobs)} images"
        if len(set(rows["model_version"].to_pylist())) > 1:
            yield f"{dt} mixes models: {sorted(set(rows['model_version'].to_pylist()))}"


def _lineage(lake: Storage, model: str, feed: str, dates: Sequence[str]) -> Iterable[str]:
    table = Table(lake, contract.predictions_table(model))
    partitions = [{"dt": dt, "feed": feed, "origin": contract.BATCH} for dt in dates]
    for partition, commit in zip(partitions, table.last_commits(partitions), strict=True):
        if commit is None:
            continue  # said already
        dt = partition["dt"]
        rows = table.read(partition, columns=["path", "model", "model_version"])
        graph = lineage(lake, f"predictions/{model}/dt={dt}/feed={feed}")
        kinds = {node.kind for node in graph.nodes.values()}
        if missing := [kind for kind in _CHAIN[1:] if kind not in kinds]:
            yield f"the lineage of {dt} lacks {', '.join(missing)}"
        named = {node.name for node in graph.nodes.values() if node.kind == "model version"}
        wrote = {f"{row['model']}@{row['model_version']}" for row in rows.to_pylist()}
        if not wrote <= named:
            yield f"{dt} was written by {sorted(wrote)}, and its lineage names {sorted(named)}"
        if dt != dates[-1]:
            continue
        path = rows["path"].to_pylist()[0]  # one row of the last date, from the image itself
        kinds = {node.kind for node in lineage(lake, f"predictions/{model}/dt={dt}/feed={feed}/{path}").nodes.values()}
        if missing := [kind for kind in _CHAIN if kind not in kinds]:
            yield f"the lineage of {dt}/{path} lacks {', '.join(missing)}"


def _champions(lake: Storage, model: str) -> Iterable[str]:
    entries = champions.history(lake, model)
    if [entry["number"] for entry in entries] != list(range(1, len(entries) + 1)):
        yield f"the champion history has gaps: {[entry['number'] for entry in entries]}"
    said = [one for one in _receipts(lake, model) if "verdict" in one]
    standing: list[dict[str, Any]] = []
    for entry in entries:
        if entry["kind"] == "withdrawn":
            standing = [one for one in standing if one["number"] != entry["withdraws"]]
            continue
        before = standing[-1]["number"] if standing else None
        if (entry["from"] or {}).get("number") != before:
            yield f"entry {entry['number']} follows {entry['from']}, and entry {before} was champion"
        if "promote" not in [
            one["verdict"] for one in said if one.get("challenger", {}).get("package_id") == entry["package_id"]
        ]:
            yield f"entry {entry['number']} was promoted without a yes of the gate"
        standing.append(entry)
    now = champions.current(lake, model)
    if (now and now.number) != (standing[-1]["number"] if standing else None):
        yield f"{now} is champion, and its history says {standing[-1:]}"


def _receipts(lake: Storage, model: str) -> list[dict[str, Any]]:
    """What trainings left, and what the gate said of each challenger: the latter have a verdict."""
    folder = contract.training_reports(model, "receipts")
    return [json.loads(lake.read(blob.path)) for blob in lake.list(folder)]


def _mlflow(lake: Storage, model: str) -> Iterable[str]:
    from training import tracking

    client = tracking.open_client()
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = {run.info.run_id: run for run in client.search_runs(experiments, max_results=1000)}
    receipts = _receipts(lake, model)
    named = {one["run_id"] for one in receipts if "run_id" in one}
    parents = {one["evaluation"]["plan"]["parent_run_id"] for one in receipts if "verdict" in one}
    for run_id, run in runs.items():
        parent = run.data.tags.get(tracking.PARENT)
        if run.info.status not in ("FINISHED", "FAILED"):
            yield f"the MLflow run {run_id} is {run.info.status}"
        elif parent and parent not in runs:
            yield f"the MLflow run {run_id} belongs to {parent}, which is not there"
        elif parent and runs[parent].data.tags.get(tracking.PARENT):
            continue  # a fold or a trial: the run above it is named, or has failed
        elif run.info.status == "FINISHED" and run_id not in (named if parent else parents):
            yield f"the MLflow run {run_id} has ended well, and nothing on the lake names it"
    champion = champions.current(lake, model)
    alias = client.get_model_version_by_alias(model, "champion").version if champion else None
    if champion and str(alias) != champion.version:
        yield f"MLflow's alias points to version {alias}, and the champion is version {champion.version}"


def _tested(lake: Storage, model: str) -> Iterable[str]:
    """Test images of any split that a version of the model was trained with, against what it was trained on."""
    table = Table(lake, contract.splits_table(model))
    rows = table.read(columns=["split_id", "content_id", "split", "group"]).to_pylist()
    for split_id in sorted({row["split_id"] for row in rows}):
        mine = [row for row in rows if row["split_id"] == split_id]
        trained = {row["content_id"] for row in mine if row["split"] == contract.TRAIN}
        groups = {row["group"] for row in mine if row["split"] == contract.TRAIN and row["group"]}
        tested = [row for row in mine if row["split"] == contract.TEST]
        if both := [row["content_id"] for row in tested if row["content_id"] in trained or row["group"] in groups]:
            yield f"the split {split_id} tests with {len(both)} images that it trains on"
    ever = {row["content_id"] for row in rows if row["split"] == contract.TEST}
    if moved := ever & {row["content_id"] for row in rows if row["split"] == contract.TRAIN}:
        yield f"{len(moved)} images are tested with in one split and trained on in another"
