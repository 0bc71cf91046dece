"""The main job on the containers: ``python -m infra.compose demo``. Reads what ``infra.container_secrets`` wrote."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from darkroom.errors import DarkroomError
from infra import container_secrets
from infra.local.demo import run_demo
from infra.local.environment import ROOT, Local, local_from_environment
from infra.local.services import CannotRun, interrupt_as_exit


def settings(home: Path) -> dict[str, str]:
    """The variables by which this machine reaches the containers. Raises CannotRun when there are none yet."""
    path = home / "client.env"
    if not path.is_file():
        raise CannotRun(f"{path} is not there: the containers were not started. Start them: make containers-up")
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line)


def start(local: Local, say: Callable[[str], None]) -> None:
    """Starts nothing: raises CannotRun unless Airflow and MLflow answer at their published ports."""
    health = {"Airflow": f"{local.airflow_url}/api/v2/monitor/health", "MLflow": f"{local.mlflow_url}/health"}
    for name, url in health.items():
        try:
            answer = httpx.get(url, timeout=10, trust_env=False)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise CannotRun(f"{name} does not answer at {url} ({error}). Start it: make containers-up") from None
        say(f"{name} is up")


def stop(local: Local, say: Callable[[str], None]) -> None:
    """Stops the containers and keeps their data."""
    files = ["--env-file", str(local.home / "engine.env"), "-f", str(ROOT / "infra" / "compose.yaml")]
    done = subprocess.run(["docker", "compose", *files, "down"], check=False)
    if done.returncode:
        raise CannotRun(f"docker compose down ended with exit code {done.returncode}; the lines above say why.")
    say("the containers are down")


def processes(local: Local) -> list[psutil.Process]:
    """None that this machine could measure: they are the engine's."""
    return []


def ended(local: Local) -> str:
    """Nothing that this machine could see: the engine starts again what ends."""
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.compose", description=__doc__)
    parser.add_argument("command", choices=["demo"])
    parser.parse_args()
    interrupt_as_exit()
    try:
        os.environ.update(settings(container_secrets.HOME))
        run_demo(local_from_environment(), lambda text: print(f"darkroom: {text}", flush=True), sys.modules[__name__])
    except (CannotRun, DarkroomError, TimeoutError, httpx.HTTPError) as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("darkroom: interrupted. The containers may still be up: make containers-down.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
