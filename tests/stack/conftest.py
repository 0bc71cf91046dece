"""One stack for the whole session: in a folder of its own, on free ports, with nothing left at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from darkroom.storage import Storage, StorageOptions, open_storage
from infra.local.services import CannotRun
from infra.stack.environment import PORTS, Stack, lake_settings, stack_from_environment
from infra.stack.machine import check_tools
from infra.stack.supervision import processes
from tests.integration.servers import free_port, left_out

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 360  # the gate wants 40 test images, 10 of each class


@dataclass(frozen=True)
class Running:
    """The stack under test."""

    stack: Stack
    environment: dict[str, str]

    def command(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs ``python -m infra.stack`` with these arguments, as make does."""
        return subprocess.run(
            [sys.executable, "-m", "infra.stack", *arguments],
            cwd=ROOT, env={**self.environment, **variables}, capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip


def member_processes(stack: Stack) -> list[psutil.Process]:
    """Every process of the stack."""
    return [one for process in processes(stack) for one in [process, *process.children(recursive=True)]]


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    try:
        check_tools()
    except CannotRun as error:
        left_out("The stack", f"it {error}.")
    # Not below pytest's own folder: PostgreSQL runs as another user, who must be able to enter.
    home = Path(tempfile.mkdtemp(prefix="darkroom-stack-"))
    home.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DARKROOM_"))}
    ports = {f"{name.upper()}_PORT": str(free_port()) for name in (*PORTS, "airflow", "mlflow")}
    environment = {**kept, **ports, "DARKROOM_HOME": str(home)}
    with pytest.MonkeyPatch.context() as patch:
        for name in (*ports, "DARKROOM_HOME"):
            patch.setenv(name, environment[name])
        stack = stack_from_environment()
    started = Running(stack, environment)
    try:
        up = started.command("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield started
    finally:
        down = started.command("down")
        shutil.rmtree(home, ignore_errors=True)
    assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="session")
def demo(running: Running) -> str:
    """What the main job printed on the stack."""
    done = running.command("demo", PARAMS=f'{{"images": {IMAGES}}}')
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def logins(running: Running) -> dict[str, tuple[str, str]]:
    """A name and a password for each role, made by the administrator's command."""
    made = {}
    for name, role in {"vera": "viewer", "edgar": "editor", "ada": "admin"}.items():
        done = running.command("account", NAME=name, ROLE=role)
        assert done.returncode == 0, done.stdout + done.stderr
        made[role] = (name, done.stdout.split()[-1])
    return made


@pytest.fixture
def lake_environment(running: Running) -> dict[str, str]:
    return {**running.environment, **lake_settings(running.stack)}


@pytest.fixture(scope="session")
def lake(running: Running) -> Storage:
    """The stack's lake."""
    settings = lake_settings(running.stack)
    options = StorageOptions(
        settings["DARKROOM_S3_ENDPOINT"],
        "us-east-1",
        settings["DARKROOM_S3_ACCESS_KEY"],
        settings["DARKROOM_S3_SECRET_KEY"],
    )
    return open_storage(running.stack.lake, options)
