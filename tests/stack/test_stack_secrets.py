"""No secret of the stack is where people or other programs read: files, command lines, logs, databases, the lake."""

from __future__ import annotations

import stat
import subprocess

import pytest

from infra.local.environment import credentials
from infra.stack.environment import BUCKET
from infra.stack.machine import postgres_bin
from tests.stack.conftest import member_processes

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(900)]


def secrets_of(stack, logins):
    named = {name: value for name, value in credentials(stack).items() if name not in ("user", "s3_access_key")}
    return named | {f"password of {role}": password for role, (_, password) in logins.items()}


def it_keeps_its_secrets_in_files_of_this_user_alone(running):
    stack = running.stack
    home = stack.home
    for path in ("credentials.json", "mlflow/auth.ini", "spark/cluster/spark-defaults.conf", "run/supervisord.conf"):
        assert stat.S_IMODE((home / path).stat().st_mode) == 0o600, path
    assert stat.S_IMODE((home / "run/supervisor.sock").stat().st_mode) == 0o700


def it_shows_no_secret_in_a_command_line_or_a_log(running, logins):
    stack = running.stack
    secrets = secrets_of(stack, logins).values()
    seen = {str(process.pid): " ".join(process.cmdline()) for process in member_processes(stack)}
    seen |= {str(log): log.read_text(errors="replace") for log in stack.logs.rglob("*") if log.is_file()}
    assert len(seen) > 15
    assert [place for place, text in seen.items() if any(secret in text for secret in secrets)] == []


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("database", ["airflow", "mlflow", "mlflow_accounts"])
def it_keeps_no_secret_in_a_database(running, logins, database):
    """XComs, rendered templates, connections, task states; runs, tags and parameters; accounts."""
    address = running.stack.database(database).replace("+psycopg2", "")
    command = [str(postgres_bin() / "pg_dump"), "--data-only", "--dbname", address]
    rows = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
    assert len(rows) > 1_000
    assert [name for name, value in secrets_of(running.stack, logins).items() if value in rows] == []


@pytest.mark.usefixtures("demo")
def it_keeps_no_secret_in_the_object_store(running, logins):
    """Reports, champions, tables' logs, job outcomes; MLflow's artifacts."""
    root = running.stack.home / "s3" / "root" / BUCKET
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 100
    secrets = [value.encode() for value in secrets_of(running.stack, logins).values()]
    assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []
