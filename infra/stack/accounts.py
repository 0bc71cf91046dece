"""Accounts of the stack: runs ``darkroom_airflow.accounts`` in its environment, with its administrator's login."""

from __future__ import annotations

import os
import subprocess

from infra.local.environment import ROOT, credentials
from infra.local.services import CannotRun
from infra.stack.environment import Stack, airflow_environment


def accounts(stack: Stack, *arguments: str) -> str:
    """What the program says for ``ensure``, ``add NAME ROLE`` or ``remove NAME``. Raises CannotRun with its error."""
    login, inherited = credentials(stack), airflow_environment(stack)
    environment = inherited | {
        "MLFLOW_AUTH_ADMIN_USERNAME": login["user"],
        "MLFLOW_AUTH_ADMIN_PASSWORD": login["password"],
        "AIRFLOW_ADMIN_PASSWORD": login["password"],
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "plugins"), inherited.get("PYTHONPATH")])),
    }
    command = [str(stack.bin / "python"), "-m", "darkroom_airflow.accounts", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        told = [line.removeprefix("darkroom: ") for line in lines if line.startswith("darkroom: ")]
        raise CannotRun("\n".join(told or lines[-8:]))
    return done.stdout.strip()
