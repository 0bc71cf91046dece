"""The commands behind ``make up``, ``down``, ``status``, ``reset`` and ``demo``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from darkroom.errors import DarkroomError
from infra.local import services
from infra.local.client import AirflowClient
from infra.local.environment import ROOT, Local, credentials, local_from_environment

# What is made below the home; the logins last, since they say that the home is ours.
MADE = (
    *("airflow", "containers", "copies", "downloads", "lake", "logs", "mlflow", "peers", "run"),
    *("stack", "credentials.json"),
)


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
    """Stops everything and deletes what runs have made, by name; the environment and whatever else is there stay."""
    _refuse_a_home_of_others(local.home)
    services.stop(local, say)
    removed = [name for name in MADE if _remove(local.home / name)]
    left = sorted(entry.name for entry in local.home.iterdir()) if local.home.is_dir() else []
    say(f"removed {', '.join(removed) or 'nothing'} from {_shown(local.home)}; left {', '.join(left) or 'nothing'}")


def _refuse_a_home_of_others(home: Path) -> None:
    """Raises CannotRun where deleting could reach files that are not Darkroom's."""
    for kept in (ROOT, Path.home()):
        if kept.resolve().is_relative_to(home.resolve()):
            raise services.CannotRun(
                f"DARKROOM_HOME={home} is or holds {kept}, so nothing was removed from it. "
                "Expected a folder of Darkroom's own. Correct DARKROOM_HOME, or delete by hand what runs have left."
            )
    if home == ROOT / ".darkroom" or not any((home / name).exists() for name in MADE):
        return
    if not any(_holds_our_login(folder / "credentials.json") for folder in (home, home / "stack")):
        raise services.CannotRun(
            f"DARKROOM_HOME={home} was not made by Darkroom: no credentials.json of its own is there, so nothing was "
            "removed. Correct DARKROOM_HOME, or delete the folder by hand."
        )


def _holds_our_login(path: Path) -> bool:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(kept, dict) and "jwt_secret" in kept


def _remove(path: Path) -> bool:
    """Whether there was something to remove. Raises CannotRun where it may not be removed."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
        else:
            return False
    except OSError as error:
        raise services.CannotRun(
            f"{path} could not be removed ({error}). Remove it by hand, with the rights of who made it, and try again."
        ) from None
    return True


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
    except (services.CannotRun, DarkroomError, TimeoutError, httpx.HTTPError) as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("darkroom: interrupted. Services may still be up: make status, make down.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
