"""Starting, watching and stopping the local services by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.environment import ROOT, Local, service_environment, write_airflow_login
from infra.local.variables import differing_variables, record_variables


class CannotRun(Exception):
    """Something on this machine stands in the way; the message is one line that says what to do."""


@dataclass(frozen=True)
class Service:
    """One process: how it is started, and the URL that answers once it is up (None: alive is enough)."""

    name: str
    command: list[str]
    health: str | None = None
    port: int | None = None


def services_of(local: Local) -> list[Service]:
    """MLflow and the three processes of Airflow."""
    airflow, mlflow = str(local.bin / "airflow"), str(local.bin / "mlflow")
    store = local.home / "mlflow"
    return [
        Service(
            "mlflow",
            [
                *(mlflow, "server", "--host", "127.0.0.1", "--port", str(local.mlflow_port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"),
                *("--artifacts-destination", str(store / "artifacts")),
            ],
            health=f"{local.mlflow_url}/health",
            port=local.mlflow_port,
        ),
        Service(
            "airflow-api",
            [airflow, "api-server"],
            health=f"{local.airflow_url}/api/v2/monitor/health",
            port=local.airflow_port,
        ),
        Service("airflow-scheduler", [airflow, "scheduler", "--skip-serve-logs"]),
        Service("airflow-dags", [airflow, "dag-processor"]),
    ]


def check_machine(local: Local) -> None:
    """Raises CannotRun for a taken port, services on another lake or a full disk, before anything is started."""
    up = [service.name for service in services_of(local) if running(local, service)]
    recorded = _lake_file(local).read_text() if _lake_file(local).exists() else local.lake
    if up and recorded != local.lake:
        raise CannotRun(f"{', '.join(up)} are up on the lake {recorded}, not {local.lake}. Stop them first: make down")
    differs = differing_variables(local) if up else []
    if differs:
        raise CannotRun(
            f"{', '.join(up)} are up and were started with other values of {', '.join(differs)}. "
            "To start them with the values of now, stop them first: make down"
        )
    for service in services_of(local):
        if service.port and running(local, service) is None and listening(service.port):
            variable = "MLFLOW_PORT" if service.name == "mlflow" else "AIRFLOW_PORT"
            raise CannotRun(
                f"port {service.port}, wanted for {service.name}, is taken by another program. "
                f"Stop that one, or choose another port: make {variable}={service.port + 1} up"
            )
    try:
        local.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotRun(
            f"DARKROOM_HOME={local.home} cannot be made ({error.strerror}). Name a folder that you may write to."
        ) from None
    free = shutil.disk_usage(local.home).free
    if free < 2 * 2**30:
        raise CannotRun(f"{free >> 20} MB are free in {local.home}; at least 2,048 MB are needed. Make room first.")


def start(local: Local, say: Callable[[str], None]) -> None:
    """Brings up what is not running, and returns when all of it answers."""
    check_machine(local)
    environment = service_environment(local)
    for folder in (local.logs, local.airflow_home, local.home / "mlflow" / "artifacts", local.home / "run"):
        folder.mkdir(parents=True, exist_ok=True)
    write_airflow_login(local)
    _lake_file(local).write_text(local.lake)
    if not processes(local):
        record_variables(local)
    services = services_of(local)
    if running(local, services[0]) is None:
        _spawn(local, services[0], environment)
    if not all(running(local, service) for service in services[1:]):
        run_once(local, "airflow-migrate", [str(local.bin / "airflow"), "db", "migrate"], environment)
    for service in services[1:]:
        if running(local, service) is None:
            _spawn(local, service, environment)
    for service in services:
        _wait(local, service)
        say(f"{service.name} is up")


def stop(local: Local, say: Callable[[str], None]) -> None:
    """Ends every service and what it started; asks first, then kills. Returns when all are gone."""
    for service in reversed(services_of(local)):
        process = running(local, service)
        if process is not None:
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=15)
            for child in alive:
                child.kill()
            psutil.wait_procs(alive, timeout=5)
            say(f"{service.name} is down")
        pid_file(local, service).unlink(missing_ok=True)


def running(local: Local, service: Service) -> psutil.Process | None:
    """The service's process, when it is alive and really the one that was started."""
    try:
        pid, started = pid_file(local, service).read_text().split()
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(started)) < 2 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (OSError, ValueError, psutil.Error):
        return None
    return None


def processes(local: Local) -> list[psutil.Process]:
    """The services that run now, each with its children below it."""
    found = [running(local, service) for service in services_of(local)]
    return [process for process in found if process is not None]


def end_leftovers(local: Local, service: Service) -> list[psutil.Process]:
    """Kills what a service that was killed left in its process group, and returns it.

    A number that names a group is not given to another process while the group has members, so the group of a dead
    service is its own.
    """
    try:
        group = int(pid_file(local, service).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return []
    if running(local, service) is not None or psutil.pid_exists(group):
        return []
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group:
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=10)
    return found


def ended(local: Local) -> str:
    """A sentence about the first service that runs no more, and the end of its log; empty when all of them run."""
    for service in services_of(local):
        if running(local, service) is None:
            log = log_of(local, service)
            return f"{service.name} has ended. Start it again: make up. The end of its log, {log}:\n{tail(log)}"
    return ""


def memory_of(process: psutil.Process) -> int:
    """Resident bytes of a process and its children, each shared page counted once where the system tells."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.Error, AttributeError):
            continue
    return total


def healthy(service: Service) -> bool:
    """Whether the service's health URL answers; True for one without a URL."""
    if service.health is None:
        return True
    try:
        with urllib.request.urlopen(service.health, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def log_of(local: Local, service: Service) -> Path:
    return local.logs / f"{service.name}.log"


def _spawn(local: Local, service: Service, environment: dict[str, str]) -> None:
    with log_of(local, service).open("ab") as log:
        process = subprocess.Popen(
            service.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
    started = psutil.Process(process.pid).create_time()
    pid_file(local, service).write_text(f"{process.pid} {started}")


def run_once(local: Local, name: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs a program to its end. Raises CannotRun with the end of its log."""
    log = local.logs / f"{name}.log"
    with log.open("ab") as file:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env=environment, cwd=ROOT, check=False,
        )  # fmt: skip
    if done.returncode:
        raise CannotRun(f"{name} ended with exit code {done.returncode}. Its log: {log}\n{tail(log)}")


def _wait(local: Local, service: Service, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if running(local, service) is None:
            log = log_of(local, service)
            raise CannotRun(f"{service.name} ended right after its start. Its log: {log}\n{tail(log)}")
        if healthy(service):
            return
        time.sleep(0.3)  # between two questions to a server that is coming up
    raise CannotRun(
        f"{service.name} did not answer at {service.health} in {seconds:.0f} s. Its log: {log_of(local, service)}"
    )


def tail(log: Path, lines: int = 8) -> str:
    """The last lines of a log file, indented."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return f"  (no log: {error})"
    return "\n".join(f"  {line[:240]}" for line in text)


def pid_file(local: Local, service: Service) -> Path:
    return local.home / "run" / f"{service.name}.pid"


def _lake_file(local: Local) -> Path:
    return local.home / "run" / "lake"


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def interrupt_as_exit() -> None:
    """Makes a termination signal end this program like Ctrl-C, so that clean-up runs."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if os.name == "posix":
        signal.signal(signal.SIGHUP, lambda *_: sys.exit(128 + signal.SIGHUP))
