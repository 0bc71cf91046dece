"""The main job, from a user's seat: prepare, train, classify three days, and say what came of it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import httpx
import psutil

from darkroom import champions
from darkroom.inbox import fill_inbox
from darkroom.sources.base import without_login
from darkroom.storage import Storage, open_storage
from infra.local import services
from infra.local.client import DONE, AirflowClient
from infra.local.environment import Local, credentials
from infra.local.last_screen import print_last_screen
from infra.local.screen import FINISHED, Screen, Stage, TaskLine

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]
PER_DATE = 40
PHANTOMS = 1000
SCHEMES = {"archive": ("http://", "https://", "file://"), "folder": ("s3://", "hdfs://", "file://")}
DAGS = ["prepare_dataset", "train_model", "batch_inference"]


class Platform(Protocol):
    """What the demo needs of whatever runs Airflow: infra.local.services, or infra.stack.supervision."""

    def start(self, local: Any, say: Callable[[str], None]) -> None: ...
    def stop(self, local: Any, say: Callable[[str], None]) -> None: ...
    def processes(self, local: Any) -> list[psutil.Process]: ...
    def ended(self, local: Any) -> str: ...


class Follower:
    """Follows DAG runs on the screen and remembers what their tasks returned and the most memory in use."""

    def __init__(self, local: Local, client: AirflowClient, screen: Screen, platform: Platform) -> None:
        self.local, self.client, self.screen, self.platform = local, client, screen, platform
        self.returned: dict[tuple[str, str], Any] = {}
        self.peak_memory = 0

    def follow(self, dag_id: str, run_id: str, title: str) -> dict[str, Any]:
        """Returns the finished run; raises CannotRun, saying why, when it failed or a service of it has ended."""
        stage = Stage(title)
        while True:
            try:
                run = self.client.run(dag_id, run_id)
                stage.lines = self._lines(dag_id, run_id)
            except httpx.TransportError:
                time.sleep(1)  # for a process that is still ending
                self._check_services(dag_id)
                raise
            stage.seconds = _seconds(run) or 0.0
            stage.state = run["state"] if run["state"] in FINISHED else "running"
            self.screen.show(stage)
            self._measure()
            if run["state"] in DONE:
                break
            self._check_services(dag_id)
            time.sleep(0.7)  # between two looks at the run
        if run["state"] == "failed":
            raise services.CannotRun(self._failure(dag_id, run_id))
        return run

    def _check_services(self, dag_id: str) -> None:
        """Raises CannotRun when a run would wait for ever: nobody schedules it, or answers for it."""
        if reason := self.platform.ended(self.local):
            raise services.CannotRun(f"{dag_id} cannot go on: {reason}")

    def _lines(self, dag_id: str, run_id: str) -> list[TaskLine]:
        lines = []
        tasks = self.client.tasks(dag_id, run_id)
        for task in sorted(tasks, key=lambda one: (one["start_date"] or "9", one["task_id"])):
            name, state, note = task["task_id"], task["state"] or "none", ""
            if task["map_index"] >= 0:
                shown = task["rendered_map_index"] or str(task["map_index"])
                name += f" [{shown}]"
                if state == "running" and shown == str(task["map_index"]):
                    state = "queued"  # it has no name to show yet
            if state == "success":
                key = (f"{dag_id}/{run_id}", name)
                if key not in self.returned:
                    self.returned[key] = self.client.xcom(dag_id, run_id, task["task_id"], task["map_index"])
                value = self.returned[key]
                if isinstance(value, dict) and value.get("changed") is False:
                    note = "nothing changed"
            lines.append(TaskLine(name, state, _seconds(task), note))
        return lines

    def _measure(self) -> None:
        used = sum(services.memory_of(process) for process in self.platform.processes(self.local))
        self.peak_memory = max(self.peak_memory, used)

    def result(self, dag_id: str, run_id: str, task: str) -> Any:
        return self.returned.get((f"{dag_id}/{run_id}", task))

    def _failure(self, dag_id: str, run_id: str) -> str:
        for task in self.client.tasks(dag_id, run_id):
            if task["state"] == "failed":
                lines = "\n".join(f"  {line[:300]}" for line in self.client.log_tail(dag_id, run_id, task))
                where = f"{self.local.airflow_url}/dags/{dag_id}/runs/{run_id}/tasks/{task['task_id']}"
                return f"{dag_id} failed in {task['task_id']}. The end of its log:\n{lines}\nThe whole log: {where}"
        return f"{dag_id} failed without a failed task; look at {self.local.airflow_url}/dags/{dag_id}/runs/{run_id}"


def run_demo(local: Local, say: Callable[[str], None], platform: Platform = services) -> None:
    """The demo. Environment: DATASET (folder, archive or URL), PARAMS (JSON for the form), KEEP=0."""
    form = prepare_form(os.environ.get("DATASET", ""), os.environ.get("PARAMS", ""))
    say(
        f"prepares {form['dataset']!r}, trains two models on it and classifies three days of images. "
        "About 5 minutes on 2 cores, 5 GB of memory, 1 GB of disk."
    )
    began = time.monotonic()
    before, started = platform.processes(local), False
    try:
        platform.start(local, lambda _: None)
        started = True
        client = AirflowClient(local)
        client.ensure_pool("spark", 1, "One Spark job at a time on this machine.")
        login = credentials(local)
        say(f"Airflow {local.airflow_url} (login {login['user']} / {login['password']}), MLflow {local.mlflow_url}")
        client.wait_for_dags(DAGS)
        screen = Screen()
        follower = Follower(local, client, screen, platform)
        with screen:
            outcome = _main_job(local, follower, form)
        outcome["seconds"] = time.monotonic() - began
        outcome["peak_memory"] = follower.peak_memory
        print_last_screen(local, outcome)
    finally:
        # What was up before a start that was refused is not the demo's to stop.
        if os.environ.get("KEEP") == "0" and (started or (not before and platform.processes(local))):
            platform.stop(local, say)


def _main_job(local: Local, follower: Follower, form: dict[str, Any]) -> dict[str, Any]:
    client, since = follower.client, datetime.now(UTC).isoformat()
    prepared = client.trigger("prepare_dataset", form)
    follower.follow("prepare_dataset", prepared, "prepare_dataset")
    event = follower.result("prepare_dataset", prepared, "publish")
    trained = _started_by_event(client, since)
    follower.follow("train_model", trained, "train_model")
    lake = open_storage(local.lake)
    promoted = champions.current(lake, event["dataset"]) is not None
    return {
        "event": event,
        "manifest": follower.result("prepare_dataset", prepared, "manifest"),
        "gate": follower.result("train_model", trained, "gate"),
        "evaluate": follower.result("train_model", trained, "evaluate"),
        "days": _classify(follower, lake, event) if promoted else [],
    }


def _classify(follower: Follower, lake: Storage, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Fills the inbox of three past dates and backfills them; returns the dates' summaries."""
    client, dataset = follower.client, event["dataset"]
    names = {"dataset": dataset, "version": event["version"], "split_id": event["split_id"], "feed": dataset}
    fill_inbox(lake, **names, dates=DATES, per_date=PER_DATE, seed=0)
    since = datetime.now(UTC).isoformat()
    client.backfill("batch_inference", DATES[0], DATES[-1], {"feeds": [dataset]})
    summaries = []
    for run in _backfill_runs(client, since):
        follower.follow("batch_inference", run["dag_run_id"], f"batch_inference {run['partition_key']}")
        summaries.append(follower.result("batch_inference", run["dag_run_id"], "summarise"))
    return summaries


def prepare_form(dataset: str, params: str) -> dict[str, Any]:
    """The form of prepare_dataset for DATASET: the phantoms, or somebody's own folder, archive or URL."""
    extra = _extra_fields(params)
    if not dataset:
        return {"dataset": "phantom", "source": "phantom", "images": PHANTOMS, **extra}
    remote = "://" in dataset
    location = dataset if remote else _present(dataset)
    archive = re.search(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)($|\?)", location, re.IGNORECASE) is not None
    archive = archive or location.startswith(("http://", "https://"))
    shown = unquote(without_login(location)) if remote else location
    stem = re.sub(r"\.(zip|tar.*|tgz)$", "", Path(shown).name.lower())
    name = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "mine"
    form = {"dataset": name[:60], "source": "archive" if archive else "folder", "location": location, **extra}
    schemes = SCHEMES.get(str(form["source"]))
    if schemes and "://" in str(form["location"]) and not str(form["location"]).lower().startswith(schemes):
        raise services.CannotRun(
            f"DATASET={without_login(dataset)} cannot be taken as {form['source']}. Expected a path or an address that "
            f"starts with {', '.join(schemes)}. Bring it to one of them, or name the other kind: "
            f'PARAMS=\'{{"source": "{"folder" if form["source"] == "archive" else "archive"}"}}\''
        )
    return form


def _extra_fields(params: str) -> dict[str, Any]:
    example = 'Example: PARAMS=\'{"groups": "chest-xray"}\''
    try:
        extra = json.loads(params) if params else {}
    except (ValueError, RecursionError) as error:
        raise services.CannotRun(f"PARAMS is not JSON ({error}). {example}") from None
    if not isinstance(extra, dict):
        raise services.CannotRun(f"PARAMS={params[:80]} is no JSON object. Expected fields of the form. {example}")
    return extra


def _present(dataset: str) -> str:
    """The full path of a folder or file that is there."""
    try:
        path = Path(dataset).expanduser().absolute()
        if path.exists():
            return str(path)
        reason = "is not there"
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a name too long, a byte that no name has
        reason = f"cannot be looked at ({error})"
    raise services.CannotRun(f"DATASET={dataset[:200]} {reason}. Give a folder of images, an archive of one, or a URL.")


def _started_by_event(client: AirflowClient, since: str, seconds: float = 120) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        runs = client.runs("train_model", since)
        if runs:
            return str(runs[0]["dag_run_id"])
        time.sleep(0.5)  # until the scheduler has seen the event
    raise services.CannotRun(
        "train_model was not started by the new dataset within 2 minutes; see make status for the scheduler's log."
    )


def _backfill_runs(client: AirflowClient, since: str, seconds: float = 60) -> list[dict[str, Any]]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        made = {
            run["partition_key"]: run for run in client.runs("batch_inference", since) if run["run_type"] == "backfill"
        }
        if set(DATES) <= set(made):
            return [made[dt] for dt in DATES]
        time.sleep(0.5)  # until the backfill has made its runs
    raise services.CannotRun(
        f"the backfill of batch_inference made no runs for {DATES[0]} to {DATES[-1]} within {seconds:.0f} s."
    )


def _seconds(entry: dict[str, Any]) -> float | None:
    if not entry.get("start_date"):
        return None
    begin = datetime.fromisoformat(entry["start_date"].replace("Z", "+00:00"))
    end = (
        datetime.fromisoformat(entry["end_date"].replace("Z", "+00:00")) if entry.get("end_date") else datetime.now(UTC)
    )
    return max(0.0, (end - begin).total_seconds())
