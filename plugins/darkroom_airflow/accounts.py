"""Accounts: viewer, editor and admin mean the same in Airflow and in MLflow. A program of its own::

    python -m darkroom_airflow.accounts ensure | add NAME ROLE | remove NAME

``ensure`` makes MLflow's roles, the login by which tasks use MLflow, and Airflow's first administrator; it is safe to
run again. ``add`` makes a person's account in both, or gives it this role and a new password, which is the last word
of the one line on its standard output. ``remove`` ends an account in both. All of it runs in Airflow's environment,
and reads there:

- MLFLOW_TRACKING_URI, and MLFLOW_TRACKING_USERNAME and _PASSWORD, the tasks' login;
- MLFLOW_AUTH_ADMIN_USERNAME (admin, where it is not set; Airflow's administrator has the same name) and _PASSWORD;
- AIRFLOW_ADMIN_PASSWORD, for ``ensure`` alone.

Logins come from the environment and passwords are made here, so no command line holds one.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import httpx

from darkroom.errors import DarkroomError, InvalidRequest, MachineryError

AIRFLOW_ROLES = {"viewer": "Viewer", "editor": "Op", "admin": "Admin"}
WORKSPACE = "default"
MLFLOW_TYPES = ("experiment", "registered_model", "prompt", "scorer")
MLFLOW_ROLES = {
    "viewer": [(kind, "READ") for kind in MLFLOW_TYPES],
    "editor": [("workspace", "USE"), *((kind, "EDIT") for kind in MLFLOW_TYPES)],
    # The tasks' own login: what it makes it may also delete.
    "service": [("workspace", "USE"), *((kind, "MANAGE") for kind in MLFLOW_TYPES)],
}
START_SECONDS = 300


def ensure(wait_seconds: float = START_SECONDS) -> str:
    """MLflow's roles, the tasks' login and Airflow's administrator; waits for MLflow. Returns a sentence."""
    service, password = _variable("MLFLOW_TRACKING_USERNAME"), _variable("MLFLOW_TRACKING_PASSWORD")
    administrator = _variable("AIRFLOW_ADMIN_PASSWORD")
    with _mlflow() as mlflow:
        _wait(mlflow, wait_seconds)
        _mlflow_account(mlflow, service, password, "service")
    _airflow_account(_administrator(), administrator, "admin")
    return f"MLflow's roles, its login {service} and Airflow's {_administrator()} are as they should be"


def add(name: str, role: str) -> str:
    """Makes an account in both, or gives it this role and a new password. Returns a sentence that ends in it."""
    if role not in AIRFLOW_ROLES:
        raise InvalidRequest(f"ROLE={role} is not a role. Choose one of {', '.join(AIRFLOW_ROLES)}.")
    _check_name(name)
    password = secrets.token_urlsafe(12)
    with _mlflow() as mlflow:
        _mlflow_account(mlflow, name, password, role)
    _airflow_account(name, password, role)
    return f"{name} is {role} in Airflow and MLflow; password {password}"


def remove(name: str) -> str:
    """Ends an account in both; who signed up has one in Airflow alone. Returns a sentence."""
    _check_name(name)
    with _mlflow() as mlflow:
        known = _has_account(mlflow, name)
        if known:
            _call(mlflow, "DELETE", "/2.0/mlflow/users/delete", json={"username": name})
    if not (_end_airflow_account(name) or known):
        raise InvalidRequest(f"NAME={name} has no account in Airflow or MLflow. Give the name of one that is there.")
    return f"the account {name} is gone from Airflow and MLflow"


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9._-]{1,30}", name):
        raise InvalidRequest(
            f"NAME={name} cannot be an account: 2 to 31 small letters, digits, dots, dashes and underscores, "
            "and a letter first."
        )
    if name in (_administrator(), _variable("MLFLOW_TRACKING_USERNAME")):
        raise InvalidRequest(f"NAME={name} cannot be changed here: it belongs to the services. Choose another name.")


def _administrator() -> str:
    return os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InvalidRequest(f"{name} is not set. Run this where the services' logins are in the environment.")
    return value


def _airflow_account(name: str, password: str, role: str) -> None:
    """Airflow's own ``users create`` leaves an account that is there as it is; this one does not."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        found = manager.find_role(AIRFLOW_ROLES[role])
        if found is None:
            manager.sync_roles()
            found = manager.find_role(AIRFLOW_ROLES[role])
        user = manager.find_user(username=name)
        if user is None:
            done = manager.add_user(name, name, "-", f"{name}@localhost.invalid", found, password)
        else:
            user.roles = [found]
            done = manager.update_user(user)
            if not manager.check_password(name, password):  # a new one ends the account's sessions
                done = manager.reset_password(user.id, password) and done
        if not done:
            raise MachineryError(f"Airflow did not take the account {name}; the lines above say why. Run this again.")


def _end_airflow_account(name: str) -> bool:
    """Whether there was one."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        user = manager.find_user(username=name)
        if user is None:
            return False
        manager.reset_user_sessions(user)
        user.roles.clear()
        if not manager.del_register_user(user):
            raise MachineryError(f"Airflow kept the account {name}; the lines above say why. Run this again.")
        return True


def _mlflow() -> httpx.Client:
    address = _variable("MLFLOW_TRACKING_URI").rstrip("/")
    auth = (_administrator(), _variable("MLFLOW_AUTH_ADMIN_PASSWORD"))
    return httpx.Client(base_url=f"{address}/api", auth=auth, timeout=60, trust_env=False)


def _wait(mlflow: httpx.Client, seconds: float) -> None:
    """Returns when MLflow answers, whatever it says. Raises MachineryError when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            mlflow.get("/2.0/mlflow/users/current")
            return
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise _silent(mlflow, error) from error
        time.sleep(1)  # between two questions to a server that is coming up


def _mlflow_account(mlflow: httpx.Client, name: str, password: str, role: str) -> None:
    ids = _ensure_roles(mlflow)
    login = {"username": name, "password": password}
    if _has_account(mlflow, name):
        _call(mlflow, "PATCH", "/2.0/mlflow/users/update-password", json=login)
    else:
        _call(mlflow, "POST", "/2.0/mlflow/users/create", json=login)
    _call(mlflow, "PATCH", "/2.0/mlflow/users/update-admin", json={"username": name, "is_admin": role == "admin"})
    held = {one["name"] for one in _call(mlflow, "GET", "/3.0/mlflow/users/roles/list", username=name)["roles"]}
    for other in held & set(ids) - {role}:
        _call(mlflow, "DELETE", "/3.0/mlflow/roles/unassign", json={"username": name, "role_id": ids[other]})
    if role in ids and role not in held:
        _call(mlflow, "POST", "/3.0/mlflow/roles/assign", json={"username": name, "role_id": ids[role]})


def _ensure_roles(mlflow: httpx.Client) -> dict[str, int]:
    """The ids of our roles, made where they are not there; what an administrator granted beside ours stays."""
    there = {role["name"]: role for role in _call(mlflow, "GET", "/3.0/mlflow/roles/list")["roles"]}
    ids = {}
    for name, grants in MLFLOW_ROLES.items():
        body = {"workspace": WORKSPACE, "name": name}
        role = there.get(name) or _call(mlflow, "POST", "/3.0/mlflow/roles/create", json=body)["role"]
        ids[name] = role["id"]
        answer = _call(mlflow, "GET", "/3.0/mlflow/roles/permissions/list", role_id=role["id"])
        for kind, permission in grants:
            grant = {"resource_type": kind, "resource_pattern": "*", "permission": permission}
            if not any(grant.items() <= one.items() for one in answer["role_permissions"]):
                _call(mlflow, "POST", "/3.0/mlflow/roles/permissions/add", json={"role_id": role["id"], **grant})
    return ids


def _has_account(mlflow: httpx.Client, name: str) -> bool:
    return bool(_call(mlflow, "GET", "/2.0/mlflow/users/get", absent=True, username=name))


def _call(
    mlflow: httpx.Client, method: str, path: str, *, json: Any = None, absent: bool = False, **query: str | int
) -> dict[str, Any]:
    """What MLflow answers; with ``absent``, nothing where it says 404. Raises a DarkroomError for all else."""
    try:
        answer = mlflow.request(method, path, json=json, params=query)
    except httpx.HTTPError as error:
        raise _silent(mlflow, error) from error
    if absent and answer.status_code == 404:
        return {}
    if answer.status_code == 401:
        raise InvalidRequest(
            f"MLflow at {mlflow.base_url} refused the password of {_administrator()}. It keeps the one of its first "
            "start, or the one that was given to it later: set MLFLOW_AUTH_ADMIN_PASSWORD to that."
        )
    if answer.is_error:
        raise MachineryError(f"MLflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found


def _silent(mlflow: httpx.Client, error: httpx.HTTPError) -> MachineryError:
    return MachineryError(f"MLflow does not answer at {mlflow.base_url} ({error}). Start it, then run this again.")


def main() -> int:
    parser = argparse.ArgumentParser(prog="darkroom_airflow.accounts", description="Accounts of Airflow and MLflow.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ensure", help="roles, the tasks' login, the first administrator")
    adding = commands.add_parser("add", help="makes or changes a person's account")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("role", metavar="ROLE", help=", ".join(AIRFLOW_ROLES))
    commands.add_parser("remove", help="ends an account").add_argument("name", metavar="NAME")
    given = vars(parser.parse_args())
    run: dict[str, Callable[..., str]] = {"ensure": ensure, "add": add, "remove": remove}
    try:
        with redirect_stdout(sys.stderr):  # where Airflow logs what it imports
            said = run[given.pop("command")](**given)
        print(said, flush=True)
    except DarkroomError as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
