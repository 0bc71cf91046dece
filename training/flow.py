"""The steps of train_model: plan, train, evaluate, decide, promote. Each takes and returns small JSON-able values.

Heavy libraries are imported by the step that needs them, and no other.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from darkroom import champions, retraining
from darkroom.codedigest import code_digest
from darkroom.contract import stable_hash
from darkroom.errors import InvalidRequest
from darkroom.requests import checked_job
from darkroom.retraining import Asker
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.thresholds import check_aim
from training import receipts
from training.config import load_config, parse_config, wanted_features
from training.data import class_names, read_split
from training.experiments.folds import read_folds
from training.experiments.placement import Unit, placed
from training.kinds import Job, kind_of
from training.policy import gate_policy

log = logging.getLogger(__name__)


class PlanRequest(BaseModel):
    """What train_model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: str
    split_id: str
    model: str | None = None  # default: the dataset's name
    configs: list[str] = Field(default_factory=list)  # empty: the setting train_configs
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)  # default: each config's own
    links: dict[str, str] = Field(default_factory=dict)
    asked_by: Asker = "hand"
    with_leaks: bool = False


def plan(lake: Storage, request: dict[str, Any], now: datetime | None = None) -> dict[str, Any]:
    """Checks the request, finds what is trained already, and opens the parent run unless nothing is to be done.

    Where a training that nobody asked for by hand has to wait at the moment ``now``, all that comes back is
    ``wait``, one sentence that says why. Raises InvalidRequest for a wrong request or config, DataError for a split
    that cannot be trained on.
    """
    from training import tracking

    asked = checked_job(PlanRequest, request, "training")
    configs = [load_config(name) for name in dict.fromkeys(asked.configs or get_settings().train_configs)]
    metrics = sorted({config.primary_metric for config in configs})
    if len(metrics) > 1:
        raise InvalidRequest(
            f"The configs {[one.name for one in configs]} choose by different metrics: {metrics}. Expected one for all."
        )
    classes = class_names(read_split(lake, asked.dataset, asked.split_id))
    for config in configs:
        _positive_class(config.positive_class, classes, config.name)
        check_aim(config.threshold, classes, config.name)
    for folds in {config.folds for config in configs if config.evaluate == "kfold"}:
        read_folds(lake, asked.dataset, asked.version, asked.split_id, folds)  # too many are refused before a search
    if asked.with_leaks:  # refused now, not after the training
        from training.comparing import leaks

        leaks.read_given_split(lake, asked.dataset, asked.version, asked.split_id)
    model = asked.model or asked.dataset
    client = tracking.open_client()
    transforms = {config.transform.hash: config.transform.model_dump(mode="json") for config in configs}
    common = {
        "dataset": asked.dataset,
        "version": asked.version,
        "split_id": asked.split_id,
        "model": model,
        "experiment": asked.dataset,
        "primary_metric": metrics[0],
        "links": asked.links,
        "with_leaks": asked.with_leaks,
    }
    tasks: list[dict[str, Any]] = []
    with tracking.reached():
        for config in configs:
            seed = config.seed if asked.seed is None else asked.seed
            key = receipts.training_key(asked.version, asked.split_id, config, seed)
            trained = receipts.find_training(lake, model, key)
            if trained and tracking.known_run(client, trained["run_id"]) is None:
                log.info("MLflow does not know the run of %s any more: it is trained again.", config.name)
                trained = None
            tasks.append(
                {
                    "name": config.name,
                    "kind": config.kind,
                    "runs_in": "spark" if config.where == "spark" else kind_of(config.kind).RUNS_IN,
                    "transform": config.transform.model_dump(mode="json"),
                    "feature_hashes": [one.hash for one in config.feature_set.features] if config.feature_set else [],
                    "seed": seed,
                    "key": key,
                    "trained": trained,
                    **common,
                }
            )
        gate_key = receipts.gate_key([task["key"] for task in tasks], gate_policy())
        decided = receipts.find_gate(lake, model, gate_key) if all(task["trained"] for task in tasks) else None
        if asked.with_leaks and not (decided and decided["evaluation"]["plan"].get("with_leaks")):
            decided = None
            for task in tasks:
                task["trained"] = None  # it is, and is told so when it is asked for its measurement
        changed = decided is None or not _still_stands(lake, model, decided)
        run = asked.links.get("airflow_run", "")
        moment = now or datetime.now(UTC)
        if changed and (wait := _why_not_now(lake, model, asked.asked_by, run, moment)):
            return {"wait": wait}
        if changed:
            entry = {"asked_by": asked.asked_by, "version": asked.version, "split_id": asked.split_id}
            retraining.remember(lake, model, run or moment.isoformat(), entry, now=moment)
            experiment_id = tracking.open_experiment(client, asked.dataset)
            parent = _start_parent(client, experiment_id, common, asked.links)
        else:
            parent = str(decided["evaluation"]["plan"]["parent_run_id"]) if decided else ""
            experiment_id = str(decided["evaluation"]["plan"]["experiment_id"]) if decided else ""
            log.info("Nothing changed: these configs are trained on this split, and the gate has decided.")
    for task in tasks:
        task |= {"parent_run_id": parent, "experiment_id": experiment_id}
    return {
        **common,
        "parent_run_id": parent,
        "experiment_id": experiment_id,
        "gate_key": gate_key,
        "configs": tasks,
        "transforms": list(transforms.values()),
        "features": wanted_features(configs),
        "changed": changed,
        "wait": None,
        "mlflow_url": tracking.run_page(experiment_id, parent),
    }


def _why_not_now(lake: Storage, model: str, asker: Asker, run: str, now: datetime) -> str | None:
    settings = get_settings()
    hours, times = settings.train_cooldown_hours, settings.train_per_week
    return retraining.why_not_now(lake, model, asker, run, now=now, cooldown_hours=hours, per_week=times)


def train(lake: Storage, task: dict[str, Any]) -> dict[str, Any]:
    """Trains one config of a plan; see ``train_once``. Where the plan says so, the result has ``given``, too.

    ``given`` is what the config reaches on the split that the source gave, leaks and all: training/comparing/leaks.py.
    """
    result = train_once(lake, task)
    if task.get("with_leaks"):
        from training import tracking
        from training.comparing import leaks

        result = {**result, "given": leaks.measure_given(lake, task, parse_config(result["options"]))}
        client = tracking.open_client()
        with tracking.reached():
            told = {f"given_test_{name}": value for name, value in result["given"]["metrics"].items()}
            tracking.log_step(client, result["run_id"], 0, told)
    return result


def train_once(lake: Storage, task: dict[str, Any]) -> dict[str, Any]:
    """Trains one config of a plan: an MLflow run around its kind's fit, the package, metrics on val, a receipt.

    Where the config asks for a search or for k-fold, these come first, each trial and fold in a run of its own below
    that run.

    A run that died before is marked FAILED and named in ``retry_of``. Trained before: the earlier result is returned.
    """
    from training import tracking
    from training.experiments import crossval
    from training.experiments.fitting import fit_package
    from training.experiments.nested import Nested
    from training.experiments.search import search
    from training.registry import log_package

    config = load_config(task["name"])
    if earlier := receipts.find_training(lake, task["model"], task["key"]):
        log.info("Nothing changed: %s was trained on this split before.", config.name)
        return earlier
    receipts.check_planned(task, config)
    client = tracking.open_client()
    with tracking.reached():
        identity = {tracking.PARENT: task["parent_run_id"], "darkroom.config": config.name}
        tags = {**_run_tags(task, config.transform.hash), "darkroom.config": config.name}
        run_id = tracking.start_run(client, task["experiment_id"], config.name, identity, **tags)
        log.info("MLflow run %s", tracking.run_page(task["experiment_id"], run_id) or run_id)
        nested = Nested(client, task["experiment_id"], run_id, tags)
        with tracking.active(run_id), placed(config) as place:
            searched = None
            if config.search is not None:
                config, searched = search(lake, task, config, place, nested)
            tracking.log_parameters(client, run_id, config.model_dump(mode="json") | {"seed": task["seed"]})
            kfold = None
            if config.evaluate == "kfold":
                kfold = crossval.estimate(lake, task, config, place, nested)
            started = time.monotonic()  # what its search and its folds took is no part of a config's time to train
            split = read_split(lake, task["dataset"], task["split_id"])
            job = Job(lake, task["dataset"], split, config, task["seed"]).telling(nested.steps_to(run_id))
            [(_, made)] = place.run([Unit("model", job, partial(fit_package, task))])
            built = made.built
            tracking.log_step(client, run_id, 0, built.metrics("val_") | made.facts)
            tracking.log_figures(run_id, built.figures("val") | made.figures)
            model_id = log_package(lake, built.path, built.package_id)
    result = {
        "config": config.name,
        "kind": config.kind,
        "run_id": run_id,
        "model_id": model_id,
        "package": built.path,
        "package_id": built.package_id,
        "state": built.state,
        "threshold": built.info.threshold,
        "options": config.model_dump(mode="json"),
        "feature_hashes": task["feature_hashes"],
        "val": {name: built.val[name] for name in ("count", *_SHOWN)},
        "kfold": kfold,
        "search": searched,
        **({"page": kfold["page"]} if kfold else {}),
        "seconds": round(time.monotonic() - started, 3),
        "key": task["key"],
        "mlflow_url": tracking.run_page(task["experiment_id"], run_id),
    }
    receipts.keep_training(lake, task["model"], task["key"], {**result, **task["links"]})
    return result


_SHOWN = ("balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc", "log_loss")


def evaluate(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """Chooses the challenger on val, scores every config once on test, and draws the comparison."""
    from training.comparing.evaluate import evaluate_configs

    return evaluate_configs(lake, request["plan"], request["results"])


def decide(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """The gate: the challenger against chance and the champion. ``request`` is what ``evaluate`` returned."""
    from training.deciding.decision import decide_challenger

    return decide_challenger(lake, request)


def promote(lake: Storage, request: dict[str, Any], by: dict[str, Any] | None = None) -> dict[str, Any]:
    """Appends the challenger to the champion history, then moves the alias. ``request``: what ``decide`` returned.

    ``by`` says who approved it, where someone had to.
    """
    from training.deciding.promotion import promote_challenger

    return promote_challenger(lake, request, datetime.now(UTC), by)


def close_runs(parent_run_id: str) -> None:
    """Ends the parent run and whatever of it is still RUNNING."""
    from training import tracking

    client = tracking.open_client()
    with tracking.reached():
        for run_id in tracking.end_running(client, parent_run_id):
            log.info("Ended the MLflow run %s.", run_id)


def _still_stands(lake: Storage, model: str, decided: dict[str, Any]) -> bool:
    """Whether the verdict of an earlier run would be the same again: no other champion has come since."""
    champion = champions.current(lake, model)
    now = champion.package_id if champion else None
    if decided["verdict"] == "promote":
        return now == decided["challenger"]["package_id"]
    return bool(now == decided["champion_package_id"])


def _start_parent(client: Any, experiment_id: str, common: dict[str, Any], links: dict[str, str]) -> str:
    from training import tracking

    identity = {"darkroom.kind": "training", "darkroom.split_id": common["split_id"]}
    if link := links.get("airflow_run"):
        identity["darkroom.airflow_run"] = link
    else:  # without a name for the run that asks, no earlier run can be told to be its dead attempt
        identity["darkroom.request"] = stable_hash({"at": datetime.now(UTC).isoformat(), "model": common["model"]})
    name = f"{common['dataset']} {common['split_id'][:8]}"
    return tracking.start_run(client, experiment_id, name, identity, **_run_tags(common, None))


def _run_tags(task: dict[str, Any], transform_hash: str | None) -> dict[str, str]:
    from training import tracking

    tags = {
        "darkroom.model": task["model"],
        "darkroom.dataset": task["dataset"],
        "darkroom.dataset_version": task["version"],
        "darkroom.split_id": task["split_id"],
        "darkroom.code_digest": code_digest(),
        **{f"darkroom.{name}": link for name, link in task["links"].items()},
    }
    if transform_hash:
        tags["darkroom.transform_hash"] = transform_hash
    if commit := tracking.git_commit():
        tags["mlflow.source.git.commit"] = commit
        tags["darkroom.git_commit"] = commit
    tags["mlflow.source.name"] = Path(__file__).parent.name
    return tags


def _positive_class(wanted: str | None, classes: tuple[str, ...], config: str) -> None:
    if wanted is not None and wanted not in classes:
        raise InvalidRequest(
            f"The training config {config} names the positive class {wanted!r}. Expected one of {', '.join(classes)}."
        )
