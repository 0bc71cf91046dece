"""A real Airflow and a real MLflow in a folder of their own, on free ports, for the whole session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.test import packages_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """The local services under test."""

    local: object
    environment: dict[str, str]

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs ``python -m infra.local`` with these arguments, as make does."""
        return subprocess.run(
            [sys.executable, "-m", "infra.local", *arguments],
            cwd=ROOT,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    from infra.local.environment import Local

    home = tmp_path_factory.mktemp("darkroom")
    local = Local(home=home, airflow_port=free_port(), mlflow_port=free_port(), lake=str(home / "lake"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DARKROOM_"))}
    (home / "gate.yaml").write_text("approval_hours: 0.02\n")  # 72 s, for test_approval.py
    environment |= {
        "DARKROOM_GATE_POLICY": str(home / "gate.yaml"),
        "DARKROOM_HOME": str(home),
        "AIRFLOW_PORT": str(local.airflow_port),
        "MLFLOW_PORT": str(local.mlflow_port),
        # OpenLineage is on, as an optional extra: its events go to a file for test_lineage.py.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [os.environ.get("PYTHONPATH"), str(ROOT), str(packages_of("openlineage"))])
        ),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(home / "openlineage.jsonl"), "append": True}
        ),
    }
    started = Running(local, environment)
    up = started.command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    yield started
    down = started.command("down")
    assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="session")
def client(running):
    from infra.local.client import AirflowClient

    return AirflowClient(running.local)


@pytest.fixture(scope="session")
def forgotten(running, client):
    """A run of promote_champion that nobody answers; it ends by itself 72 s after it began to wait."""
    from darkroom.storage import open_storage
    from tests.suites.verdicts import MODEL, verdict_on

    client.wait_for_dags(["promote_champion"])
    verdict_on(open_storage(running.local.lake), 9, None)
    return client.trigger("promote_champion", {"model": MODEL, "gate_key": f"{9:016x}"})


@pytest.fixture(scope="session")
def demo(running):
    """The outcome of the demo's first run."""
    done = running.command("demo", PARAMS='{"images": 500}')
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def finished(client, dag_id, run_id, seconds=240):
    """The run once it has ended."""
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = client.run(dag_id, run_id)
        if run["state"] in {"success", "failed"}:
            return run
        time.sleep(0.5)  # between two looks at the run
    raise AssertionError(f"{dag_id} {run_id} did not end in {seconds} s")
