"""The last seven days, played by a real Airflow: its scheduler, assets, approvals, backfill and reconcile."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from darkroom import champions
from darkroom.contract import predictions_table
from darkroom.tables import Table
from infra.local import services
from infra.local.client import DONE, AirflowClient
from infra.local.environment import Local
from infra.simulation.home import write_policy
from infra.simulation.hospital import DATASET
from infra.simulation.story import FORM, OUTAGE, PER_DAY, Entry, Story, partition_of

_APPROVAL_HOURS = 0.03  # 108 s
_PATIENCE = 600  # seconds for one run
_DAGS = ["prepare_dataset", "train_model", "batch_inference", "monitor_drift", "promote_champion", "reconcile"]


def play_week(local: Local, story: Story) -> None:
    """Starts Airflow and MLflow on what the simulated days have left, and stops them at the end."""
    os.environ["DARKROOM_MLFLOW_TRACKING_URI"] = local.mlflow_url
    write_policy(local, _APPROVAL_HOURS)
    services.start(local, lambda said: None)
    try:
        client = AirflowClient(local)
        client.ensure_pool("spark", 1, "One Spark job at a time on this machine.")
        client.wait_for_dags(_DAGS)
        _Week(client, story, local.home).play()
    finally:
        services.stop(local, lambda said: None)


class _Week:
    def __init__(self, client: AirflowClient, story: Story, home: Path) -> None:
        self.client, self.story, self.lake, self.home = client, story, story.lake, home
        today = datetime.now(UTC).date()
        self.days = [today - timedelta(days=back) for back in range(7, 0, -1)]
        self._rng = random.Random(len(story.delivered))

    def play(self) -> None:
        self._dates()
        self._models()

    def _dates(self) -> None:
        """Seven dates: missed ones, some by hand, the last by the scheduler, and a late image."""
        story, dates = self.story, [day.isoformat() for day in self.days]
        for dt in dates:
            story.hospital.deliver(dt, PER_DAY)
            story.delivered.append(dt)
        before = champions.history(self.lake, DATASET)
        trained = self._runs("train_model")

        # The first days were missed: a backfill catches up. One of its tasks is killed.
        self.client.backfill("batch_inference", dates[0], dates[OUTAGE - 1], {"mode": "as_of"})
        self._kill_a_spark_job()
        self._wait_for_dates(dates[:OUTAGE])
        self._note(OUTAGE, "caught up", f"A backfill in Airflow caught up with {dates[0]} to {dates[OUTAGE - 1]}.")
        for dt in dates[OUTAGE:-1]:
            self._finished("batch_inference", self.client.trigger("batch_inference", {}, partition_key=dt))
        self._wait_for_dates(dates)  # the last one by the scheduler itself
        scheduled = [run for run in self.client.runs("batch_inference") if run["run_type"] == "scheduled"]
        story.expect(any(run["state"] == "success" for run in scheduled), f"a scheduled date, not {scheduled}")

        # An image comes late.
        late = story.hospital.scan(dates[2])
        self._note(4, "late", f"In {dates[2]}: {late} came late.")
        self._finished("reconcile", self.client.trigger("reconcile", {"days": 7}))
        paths = Table(self.lake, predictions_table(DATASET)).read(partition_of(dates[2]), columns=["path"])
        story.expect(late in paths["path"].to_pylist(), f"{late} among the rows of {dates[2]}")
        self._note(4, "reconciled", f"Reconcile in Airflow classified {dates[2]} again.")
        self._settled("monitor_drift")
        story.expect(champions.history(self.lake, DATASET) == before, "no date to move the champion")
        asked = [
            run for run in self._new_runs("train_model", trained) if (run["conf"] or {}).get("asked_by") != "drift"
        ]
        story.expect(not asked, f"no date to train, but a scheduled one by drift: {asked}")

    def _models(self) -> None:
        """Newly labelled images are trained on because the asset says so; nobody answers, then someone does."""
        story, before = self.story, champions.history(self.lake, DATASET)
        known = set(self._runs("train_model"))
        waiting = set(self._runs("promote_champion"))
        story.drop_feedback()
        form = {**FORM, "location": str(story.hospital.archive)}
        self._finished("prepare_dataset", self.client.trigger("prepare_dataset", form))
        woken = self._one_more("train_model", known)
        story.expect(woken["run_type"] == "asset_triggered", f"a training by the asset, not {woken['run_type']}")
        self._finished("train_model", woken["dag_run_id"])
        first = self._one_more("promote_champion", waiting)["dag_run_id"]
        self._finished("promote_champion", first)
        story.expect(champions.history(self.lake, DATASET) == before, "no promotion without an answer")
        self._note(5, "unanswered", "A challenger passed the gate; in Airflow nobody answered in time.")

        again = self.client.trigger("promote_champion", self.client.run("promote_champion", first)["conf"])
        self._answer(again, "Approve")
        champion = champions.current(self.lake, DATASET)
        story.expect(
            champion is not None and len(champions.history(self.lake, DATASET)) > len(before), "a new champion"
        )
        version = champion.version if champion else ""
        self._note(6, "promoted", f"Asked again, the admin approved in Airflow: version {version}.")

    def _note(self, day: int, kind: str, text: str) -> None:
        self.story.journal.append(Entry(self.days[day], kind, text))
        print(f"{self.days[day]}  {text}")

    def _runs(self, dag_id: str) -> list[str]:
        return [run["dag_run_id"] for run in self.client.runs(dag_id)]

    def _new_runs(self, dag_id: str, known: Any) -> list[dict[str, Any]]:
        return [run for run in self.client.runs(dag_id) if run["dag_run_id"] not in known]

    def _one_more(self, dag_id: str, known: Any) -> dict[str, Any]:
        return self._until(lambda: next(iter(self._new_runs(dag_id, known)), None), f"a run of {dag_id}")

    def _finished(self, dag_id: str, run_id: str) -> None:
        def ended() -> Any:
            run = self.client.run(dag_id, run_id)
            return run if run["state"] in DONE else None

        run = self._until(ended, f"{dag_id} {run_id} to end")
        if run["state"] != "success":
            failed = [task for task in self.client.tasks(dag_id, run_id) if task["state"] == "failed"]
            told = [line for task in failed for line in self.client.log_tail(dag_id, run_id, task)]
            self.story.expect(False, f"{dag_id} {run_id} to succeed. {' '.join(told)}")

    def _settled(self, dag_id: str) -> None:
        self._until(
            lambda: all(run["state"] in DONE for run in self.client.runs(dag_id)), f"all runs of {dag_id} to end"
        )

    def _wait_for_dates(self, dates: list[str]) -> None:
        table = Table(self.lake, predictions_table(DATASET))

        def there() -> bool:
            return None not in table.last_commits([partition_of(dt) for dt in dates])

        self._until(there, f"rows for {', '.join(dates)}")

    def _answer(self, run_id: str, option: str) -> None:
        """Answers whenever the run asks: one answered while it parks is taken for dead by Airflow, and asks again."""
        path = f"/dags/promote_champion/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"

        def ended() -> bool:
            states = {task["task_id"]: task["state"] for task in self.client.tasks("promote_champion", run_id)}
            if states.get("approve") == "awaiting_input":
                self.client.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})
            return self.client.run("promote_champion", run_id)["state"] in DONE

        self._until(ended, f"promote_champion {run_id} to end")
        self._finished("promote_champion", run_id)

    def _kill_a_spark_job(self) -> None:
        """Kills the first job that is still at work at a random moment after it was submitted."""

        def submitted() -> list[psutil.Process]:
            return [one for one in psutil.process_iter() if self._is_ours(one)]

        killed = False
        while not killed:
            jobs = self._until(submitted, "a Spark job to kill")
            after = self._rng.uniform(0, 5)
            time.sleep(after)  # the moment of the kill, drawn at random: nothing is waited for
            for job in jobs:
                with suppress(psutil.NoSuchProcess):
                    for process in [*job.children(recursive=True), job]:
                        process.kill()
                        killed = True
        self._note(0, "killed", f"The Spark job of a date was killed after {after:.1f} s; Airflow ran it again.")

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            line = " ".join(process.cmdline())
            return "jobs/predict.py" in line and process.environ().get("DARKROOM_HOME") == str(self.home)
        return False

    def _until(self, found: Any, what: str) -> Any:
        deadline = time.monotonic() + _PATIENCE
        while not (value := found()):
            if time.monotonic() > deadline:
                self.story.expect(False, f"{what} within {_PATIENCE} s")
            time.sleep(1)  # between two looks
        return value
