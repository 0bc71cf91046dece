"""The commands behind ``make up``, ``down``, ``status``, ``reset`` and ``demo``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from infra.local import services
from infra.local.client import AirflowClient
from infra.local.environment import Local, credentials, local_from_environment

KEPT_BY_RESET = {"env"}


def up(local: Local) -> None:
    """Starts what is not running, and prints where it is."""
    services.start(local, say)
    AirflowClient(local).ensure_pool("spark", 1, "One Spark job at a time on this machine.")
    print_addresses(local)


def down(local: Local) -> None:
    services.stop(local, say)


def status(local: Local) -> None:
    """One line a service: state, address, memory, log."""
    for service in services.services_of(local):
        process = services.running(local, service)
        state = "down" if process is None else "up" if services.healthy(service) else "not answering"
        memory = f"{services.memory_of(process) / 2**20:,.0f} MB" if process else ""
        address = f"http://127.0.0.1:{service.port}" if service.port else ""
        log = _shown(services.log_of(local, service))
        print(f"{service.name:<18} {state:<14} {address:<24} {memory:>9}  {log}")


def reset(local: Local) -> None:
    """Stops everything and deletes all that runs have made; the environment stays."""
    services.stop(local, say)
    removed = (
        [entry for entry in local.home.iterdir() if entry.name not in KEPT_BY_RESET] if local.home.is_dir() else []
    )
    for entry in removed:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    say(f"removed {', '.join(sorted(entry.name for entry in removed)) or 'nothing'} from {_shown(local.home)}")


def demo(local: Local) -> None:
    from infra.local.demo import run_demo

    run_demo(local, say)


def print_addresses(local: Local) -> None:
    login = credentials(local)
    print(f"Airflow  {local.airflow_url}   login {login['user']} / {login['password']}")
    print(f"MLflow   {local.mlflow_url}")


def say(text: str) -> None:
    print(f"darkroom: {text}", flush=True)


def _shown(path: Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def airflow(local: Local, arguments: list[str]) -> int:
    """Runs Airflow's own command line on the local services."""
    command = [str(local.bin / "airflow"), *arguments]
    return subprocess.run(command, env=services.service_environment(local), check=False).returncode


COMMANDS = {"up": up, "down": down, "status": status, "reset": reset, "demo": demo}


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.local", description=__doc__)
    parser.add_argument("command", choices=[*sorted(COMMANDS), "airflow"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of airflow")
    arguments = parser.parse_args()
    services.interrupt_as_exit()
    try:
        if arguments.command == "airflow":
            return airflow(local_from_environment(), arguments.arguments)
        COMMANDS[arguments.command](local_from_environment())
    except (services.CannotRun, TimeoutError, httpx.HTTPError) as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("darkroom: interrupted. Services may still be up: make status, make down.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
