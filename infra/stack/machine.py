"""What the stack needs of the machine: Go (once), PostgreSQL and Java. What is missing is said in one line."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from infra.binaries import VERSITYGW, check_go
from infra.local.services import CannotRun, listening, running
from infra.stack.environment import Stack
from infra.stack.programs import programs_of

DEBIANS_POSTGRES = Path("/usr/lib/postgresql")


def check_tools() -> None:
    """Raises CannotRun, with the command that installs it, when PostgreSQL or a Go that is needed is missing."""
    postgres_bin()
    check_go("versitygw", VERSITYGW)


def check_machine(stack: Stack) -> None:
    """Raises CannotRun for what is missing or in the way, before anything is started."""
    check_tools()
    for program in programs_of(stack):
        if program.port and running(stack, program) is None and listening(program.port):
            variable = f"{program.port_name.upper()}_PORT"
            raise CannotRun(
                f"port {program.port}, wanted for {program.name}, is taken by another program. "
                f"Stop that one, or choose another port: make {variable}={program.port + 100} stack"
            )
    stack.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(stack.home).free
    if free < 4 * 2**30:
        raise CannotRun(f"{free >> 20} MB are free in {stack.home}; at least 4,096 MB are needed. Make room first.")
    user = postgres_user()
    if user:
        reachable = subprocess.run(["test", "-x", str(stack.home)], user=user.pw_uid, group=user.pw_gid, check=False)
        if reachable.returncode:
            raise CannotRun(
                f"PostgreSQL refuses to run as root, and the user {user.pw_name} may not enter {stack.home}. "
                "Choose a home that others may enter: make DARKROOM_HOME=/srv/darkroom stack"
            )


def find_postgres() -> Path | None:
    """The folder with initdb and postgres: on the PATH, or where Debian puts the newest version; None: nowhere."""
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    folders = [path.parent for path in DEBIANS_POSTGRES.glob("*/bin/initdb")]
    return max(folders, key=_version, default=None)


def _version(folder: Path) -> tuple[int, ...]:
    """Of Debian's /usr/lib/postgresql/<version>/bin."""
    return tuple(int(part) for part in re.findall(r"\d+", folder.parent.name))


def postgres_bin() -> Path:
    """The same. Raises CannotRun, with the command that installs it, when it is nowhere."""
    if (folder := find_postgres()) is None:
        raise CannotRun("needs PostgreSQL 13 or newer; none was found. On Debian or Ubuntu: apt-get install postgresql")
    return folder


def postgres_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when this is root, which it refuses to be; None: as this user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
