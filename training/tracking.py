"""What MLflow remembers of a training: one experiment a dataset, a parent run a training, a child run a config."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import MachineryError
from darkroom.settings import get_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT, RETRY_OF = "mlflow.parentRunId", "retry_of"
# No library reports home: these may be medical images.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# A request gives up on a server that is gone after about 8 s. A failing step makes up to three: its run is ended too.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_KNOCK_SECONDS = 5


def open_client() -> MlflowClient:
    """A client of the tracking server that the settings name. MLflow is imported here, which takes seconds."""
    for name, value in (QUIET | PATIENCE).items():
        os.environ.setdefault(name, value)
    import mlflow

    address = get_settings().mlflow_tracking_uri
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    return mlflow.MlflowClient()


@contextmanager
def reached(standing: str = "nothing was promoted") -> Iterator[None]:
    """Turns what MLflow raises into a MachineryError that names the server; ``standing`` says what holds then.

    A server is asked for a sign of life first, so that one that never answers is told of within a minute.
    """
    import mlflow
    import requests

    try:
        _knock(get_settings().mlflow_tracking_uri)
        yield
    except (mlflow.MlflowException, requests.RequestException) as error:  # the latter for artifacts that are refused
        first_line = next(iter(str(error).splitlines()), "")[:300]
        raise MachineryError(
            f"MLflow at {get_settings().mlflow_tracking_uri} did not do what was asked: {first_line}. "
            f"Check that it answers, then run the task again; {standing}."
        ) from error


def _knock(address: str) -> None:
    if address.startswith("http"):
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        http_request(
            get_default_host_creds(address), "/health", "GET", max_retries=2, backoff_factor=1, timeout=_KNOCK_SECONDS
        )


def open_experiment(client: MlflowClient, dataset: str) -> str:
    """The id of the dataset's experiment, made or restored where needed."""
    found = client.get_experiment_by_name(dataset)
    if found is None:
        # Else MLflow's pages open as for language models, without the table of runs.
        return str(client.create_experiment(dataset, tags={"mlflow.experimentKind": "custom_model_development"}))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def start_run(client: MlflowClient, experiment_id: str, name: str, identity: Mapping[str, str], **tags: str) -> str:
    """Starts a run. One with the same identity tags that never finished is named in ``retry_of``.

    It is ended, and its children with it: where a whole run is done again, nobody else comes back for them.
    """
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    dead = [
        run
        for run in client.search_runs([experiment_id], wanted, order_by=["attributes.start_time DESC"])
        if run.info.status != "FINISHED"
    ]
    for run in dead:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "FAILED")
        end_running(client, run.info.run_id)
    retried = {RETRY_OF: dead[0].info.run_id} if dead else {}
    run = client.create_run(experiment_id, run_name=name, tags={**identity, **tags, **retried})
    return str(run.info.run_id)


@contextmanager
def active(run_id: str) -> Iterator[None]:
    """Makes a run the one that MLflow's fluent functions log to; ends it FINISHED, or FAILED after any error."""
    import mlflow

    with mlflow.start_run(run_id=run_id):
        yield


def log_step(client: MlflowClient, run_id: str, step: int, values: Mapping[str, float]) -> None:
    """Metrics of one step (an epoch, or one of several fits)."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    named: dict[str, float] = {}
    for name, value in values.items():
        key = metric_name(name)
        while key in named:  # of another class, whose name differs in what MLflow does not take
            key += "_"
        named[key] = float(value)
    metrics = [Metric(name, value, now, step) for name, value in named.items()]
    client.log_batch(run_id, metrics=metrics)


def log_fit(client: MlflowClient, run_id: str, step: int, values: Mapping[str, float]) -> None:
    """Metrics of one step of a fit, as fit/<name>: a package's metrics have some of the same names and one step."""
    log_step(client, run_id, step, {f"fit/{name}": value for name, value in values.items()})


def log_parameters(client: MlflowClient, run_id: str, values: Mapping[str, Any]) -> None:
    """Nested options under dotted names."""
    from mlflow.entities import Param

    flat = flattened(values)
    client.log_batch(run_id, params=[Param(metric_name(name), str(value)[:6000]) for name, value in flat.items()])


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def metric_name(name: str) -> str:
    """A name that MLflow takes: what it does not allow becomes an underscore."""
    return re.sub(r"[^\w\-. /]", "_", name)


def end_running(client: MlflowClient, parent_run_id: str) -> list[str]:
    """Ends the parent and everything below it that is still RUNNING; returns their ids.

    Children that still run at the end died: they become FAILED. The parent is FINISHED if every config that
    was tried finished in the end.
    """
    parent = client.get_run(parent_run_id)
    children = client.search_runs([parent.info.experiment_id], f"tags.`{PARENT}` = '{parent_run_id}'")
    ended = []
    for run in children:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "FAILED")
            ended.append(run.info.run_id)
        if run.info.status != "FINISHED":
            ended.extend(end_running(client, run.info.run_id))
    if parent.info.status == "RUNNING":
        tried = {run.data.tags.get("darkroom.config") for run in children}
        finished = {run.data.tags.get("darkroom.config") for run in children if run.info.status == "FINISHED"}
        client.set_terminated(parent_run_id, "FINISHED" if tried == finished else "FAILED")
        ended.append(parent_run_id)
    return ended


def known_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run, or None where MLflow has lost or deleted it."""
    import mlflow

    try:
        run = client.get_run(run_id)
    except mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def run_page(experiment_id: str, run_id: str) -> str:
    """Where a browser finds a run; empty where no server shows it."""
    address = get_settings().mlflow_tracking_uri
    return f"{address}/{run_link(experiment_id, run_id)}" if address.startswith("http") else ""


def run_link(experiment_id: str, run_id: str) -> str:
    """The same on the MLflow server that shows the link."""
    return f"#/experiments/{experiment_id}/runs/{run_id}"


def log_figures(run_id: str, figures: Mapping[str, bytes]) -> None:
    """Files, by name, as artifacts of a run's plots."""
    import tempfile

    client = open_client()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in figures.items():
            path = Path(folder) / name
            path.write_bytes(data)
            client.log_artifact(run_id, str(path), "plots")


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit of these sources; None where they are not a checkout. DARKROOM_GIT_COMMIT says it in an image."""
    if told := os.environ.get("DARKROOM_GIT_COMMIT"):
        return told
    command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD")
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
