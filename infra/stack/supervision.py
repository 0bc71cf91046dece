"""Starting, watching and ending the stack through supervisord, which starts again what dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import psutil

from infra.binaries import VERSITYGW, go_binary
from infra.local import services
from infra.local.environment import ROOT, credentials
from infra.local.services import (
    CannotRun,
    end_leftovers,
    healthy,
    listening,
    log_of,
    memory_of,
    pid_file,
    running,
    tail,
)
from infra.local.variables import differing_variables, record_variables
from infra.stack import setup
from infra.stack.accounts import accounts
from infra.stack.environment import Stack, write_private
from infra.stack.machine import check_machine
from infra.stack.programs import Program, programs_of

SUPERVISOR = services.Service("supervisor", [])


def start(stack: Stack, say: Callable[[str], None]) -> None:
    """Brings up what is not running, and returns when all of it answers. Changes nothing when all of it does."""
    if not _supervising(stack):
        _end_orphans(stack, say)
    check_machine(stack)
    differs = differing_variables(stack) if _supervising(stack) else []
    if differs:
        raise CannotRun(
            f"the stack is up and was started with other values of {', '.join(differs)}. "
            "To start it with the values of now, stop it first: make stack-down"
        )
    go_binary("versitygw", VERSITYGW)
    credentials(stack)
    setup.write_configuration(stack)
    setup.make_cluster_of_databases(stack)
    write_private(_conf_file(stack), supervisor_conf(stack))
    if not _supervising(stack):
        record_variables(stack)
        _start_supervisor(stack)
    fresh = False
    for program in programs_of(stack):
        if program.name == "mlflow" and fresh:
            setup.make_databases(stack)
            setup.make_bucket(stack)
        down = _state(stack, program) != "RUNNING"
        if program.name == "airflow-api" and (down or fresh):
            if down:
                setup.migrate_airflow(stack)
            accounts(stack, "ensure")
        if down:
            fresh = True
            _rpc(stack).supervisor.startProcess(program.name, False)
        _wait(stack, program)
        say(f"{program.name} is up")


def stop(stack: Stack, say: Callable[[str], None]) -> None:
    """Ends every program and what it started; asks first, then kills. Returns when all are gone."""
    family = [member for process in processes(stack) for member in [process, *process.children(recursive=True)]]
    supervisor = running(stack, SUPERVISOR)
    if _supervising(stack):
        _rpc(stack).supervisor.shutdown()
        _, alive = psutil.wait_procs([supervisor] if supervisor else [], timeout=90)
        family += alive
    else:
        for process in processes(stack):
            process.terminate()
    _, alive = psutil.wait_procs(set(family), timeout=15)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)
    for program in programs_of(stack):
        end_leftovers(stack, program)
        pid_file(stack, program).unlink(missing_ok=True)
    pid_file(stack, SUPERVISOR).unlink(missing_ok=True)
    say(f"the stack is down ({len(set(family))} processes ended)" if family else "the stack was not up")


def processes(stack: Stack) -> list[psutil.Process]:
    """The programs that run now, each with its children below it."""
    found = [running(stack, program) for program in programs_of(stack)]
    return [process for process in found if process is not None]


def ended(stack: Stack) -> str:
    """A sentence about what ended and is not started again, and the end of its log; empty when there is no such."""
    if not _supervising(stack):
        return f"the stack's supervisor has ended. Start it again: make stack.\n{tail(stack.logs / 'supervisor.log')}"
    for program in programs_of(stack):
        if _state(stack, program) == "FATAL":
            log = log_of(stack, program)
            return f"{program.name} has ended. Start it again: make stack. The end of its log, {log}:\n{tail(log)}"
    return ""


def status_lines(stack: Stack) -> list[str]:
    """One line a program: state, address, memory, log."""
    lines = []
    for program in programs_of(stack):
        process = running(stack, program)
        state = _state(stack, program).lower() if _supervising(stack) else "down"
        if process and state == "running":
            state = "up" if answers(program) else "not answering"
        elif process:
            state = "unsupervised" if state == "down" else state
        address = f"127.0.0.1:{program.port}" if program.port else ""
        memory = f"{memory_of(process) / 2**20:,.0f} MB" if process else ""
        lines.append(f"{program.name:<18} {state:<14} {address:<16} {memory:>9}  {log_of(stack, program)}")
    return lines


def answers(program: Program) -> bool:
    """Whether its health URL answers, or its port takes connections; True for one with neither."""
    if program.health:
        return healthy(program)
    return program.port is None or listening(program.port)


def supervisor_conf(stack: Stack) -> str:
    """supervisord's configuration. It holds no secret, and its socket is this user's alone."""
    run = stack.home / "run"
    lines = [
        *("[unix_http_server]", f"file={_socket(stack)}", "chmod=0700", ""),
        *("[supervisord]", f"logfile={stack.logs / 'supervisor.log'}", f"pidfile={run / 'supervisord.pid'}"),
        *("umask=077", f"childlogdir={stack.logs}", f"directory={ROOT}", ""),
        *(
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ),
    ]
    for number, program in enumerate(programs_of(stack)):
        lines += [
            *("", f"[program:{program.name}]", f"command={sys.executable} -m infra.stack.run_program {program.name}"),
            *(f"priority={number}", "autostart=false", "autorestart=true", "startsecs=3", "startretries=30"),
            *(f"stopsignal={'INT' if program.as_postgres else 'TERM'}", "stopwaitsecs=20"),
            *("stopasgroup=false", f"killasgroup={'false' if program.as_postgres else 'true'}"),
            *(f"stdout_logfile={log_of(stack, program)}", "redirect_stderr=true"),
            *("stdout_logfile_maxbytes=20MB", "stdout_logfile_backups=2"),
        ]
    return "\n".join(line.replace("%", "%%") for line in lines) + "\n"


def _start_supervisor(stack: Stack) -> None:
    if len(str(_socket(stack))) > 100:
        raise CannotRun(f"the path {_socket(stack)} is too long for a socket. Choose a shorter DARKROOM_HOME.")
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(_conf_file(stack))]
    with (stack.logs / "supervisor.out").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True
        )
    pid_file(stack, SUPERVISOR).write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
    deadline = time.monotonic() + 30
    while not _supervising(stack):
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotRun(f"supervisord did not start. It said:\n{tail(stack.logs / 'supervisor.out')}")
        time.sleep(0.1)  # between two looks for its socket


def _end_orphans(stack: Stack, say: Callable[[str], None]) -> None:
    """Programs whose supervisor was killed: nobody would start them again, so they make room for ones that are."""
    if processes(stack):
        stop(stack, say)


def _wait(stack: Stack, program: Program, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = _state(stack, program)
        if state in {"FATAL", "EXITED", "STOPPED"}:
            break
        if state == "RUNNING" and answers(program):
            return
        time.sleep(0.3)  # between two questions to a program that is coming up
    log = log_of(stack, program)
    raise CannotRun(f"{program.name} did not come up in {seconds:.0f} s ({state}). Its log: {log}\n{tail(log)}")


def _supervising(stack: Stack) -> bool:
    try:
        return bool(_rpc(stack).supervisor.getState()["statename"] == "RUNNING")
    except OSError:
        return False


def _state(stack: Stack, program: Program) -> str:
    return str(_rpc(stack).supervisor.getProcessInfo(program.name)["statename"])


def _rpc(stack: Stack) -> Any:
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{_socket(stack)}")
    return ServerProxy("http://127.0.0.1", transport=transport)


def _conf_file(stack: Stack) -> Path:
    return stack.home / "run" / "supervisord.conf"


def _socket(stack: Stack) -> Path:
    return stack.home / "run" / "supervisor.sock"
