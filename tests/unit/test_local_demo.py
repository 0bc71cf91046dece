"""The demo while it runs: it does not wait for services that have ended, and stops what it has started."""

from __future__ import annotations

import subprocess
import sys

import httpx
import psutil
import pytest

from infra.local import services
from infra.local.demo import Follower, run_demo
from infra.local.environment import Local
from infra.local.screen import Screen

pytestmark = pytest.mark.unit

SCHEDULER, PROCESSOR = "airflow-scheduler", "airflow-dags"


class RunningForEver:
    """Airflow's API server of a run that nobody schedules any more: it answers, and nothing changes."""

    def __init__(self, answers=True):
        self.asked, self.answers = 0, answers

    def run(self, dag_id, run_id):
        self.asked += 1
        if not self.answers:
            raise httpx.ConnectError("Connection refused")
        assert self.asked < 4, "the run is followed for ever"
        return {"state": "running", "start_date": None, "end_date": None}

    def tasks(self, dag_id, run_id):
        return []


@pytest.fixture
def local(tmp_path):
    """A home whose four services are real processes that do nothing."""
    local = Local(home=tmp_path, airflow_port=1, mlflow_port=2, lake=str(tmp_path / "lake"))
    (tmp_path / "run").mkdir()
    local.logs.mkdir()
    started = []
    for service in services.services_of(local):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        started.append(process)
        created = psutil.Process(process.pid).create_time()
        services.pid_file(local, service).write_text(f"{process.pid} {created}")
        services.log_of(local, service).write_text(f"first\nlast words of {service.name}\n")
    yield local
    for process in started:
        process.kill()
        process.wait()


def end(local, name):
    service = next(one for one in services.services_of(local) if one.name == name)
    process = services.running(local, service)
    process.kill()
    process.wait(timeout=10)


@pytest.mark.parametrize("name", [SCHEDULER, PROCESSOR, "mlflow", "airflow-api"])
def it_ends_with_the_log_of_a_service_that_has_ended(local, name):
    end(local, name)
    follower = Follower(local, RunningForEver(answers=name != "airflow-api"), Screen(), services)
    with pytest.raises(services.CannotRun) as told:
        follower.follow("train_model", "one", "train_model")
    lines = str(told.value).splitlines()
    log = local.logs / f"{name}.log"
    assert lines[0] == (
        f"train_model cannot go on: {name} has ended. Start it again: make up. The end of its log, {log}:"
    )
    assert lines[-1] == f"  last words of {name}"


def it_passes_on_an_answer_that_fails_while_all_services_run(local):
    with pytest.raises(httpx.ConnectError):
        Follower(local, RunningForEver(answers=False), Screen(), services).follow("train_model", "one", "train_model")


def it_goes_on_while_all_services_run(local):
    client = RunningForEver()
    with pytest.raises(AssertionError, match="followed for ever"):
        Follower(local, client, Screen(), services).follow("train_model", "one", "train_model")
    assert client.asked == 4


class Platform:
    """Services that come up one by one; the second does not."""

    def __init__(self, up):
        self.up = up

    def start(self, local, say):
        if self.up:
            raise services.CannotRun("they are up on another lake")
        self.up = [psutil.Process()]
        raise services.CannotRun("the second did not come up")

    def stop(self, local, say):
        self.up = []

    def processes(self, local):
        return self.up

    def ended(self, local):
        return ""


@pytest.mark.parametrize(("before", "keep", "after"), [(0, "0", 0), (0, "", 1), (1, "0", 1)])
def it_stops_what_a_failed_start_has_left_up_and_nothing_else(local, monkeypatch, before, keep, after):
    monkeypatch.setenv("KEEP", keep)
    for name in ("DATASET", "PARAMS"):
        monkeypatch.delenv(name, raising=False)
    platform = Platform([psutil.Process()] * before)
    with pytest.raises(services.CannotRun):
        run_demo(local, lambda _: None, platform)
    assert len(platform.up) == after
