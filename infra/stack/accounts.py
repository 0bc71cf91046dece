"""People: viewer, editor and admin mean the same in Airflow and in MLflow. An administrator makes accounts."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import httpx

from infra.local.environment import credentials
from infra.local.services import CannotRun, run_once
from infra.stack.environment import Stack, airflow_environment

AIRFLOW_ROLES = {"viewer": "Viewer", "editor": "Op", "admin": "Admin"}
WORKSPACE = "default"
MLFLOW_TYPES = ("experiment", "registered_model", "prompt", "scorer")
MLFLOW_ROLES = {
    "viewer": [(kind, "READ") for kind in MLFLOW_TYPES],
    "editor": [("workspace", "USE"), *((kind, "EDIT") for kind in MLFLOW_TYPES)],
    # The tasks' own login: what it makes it may also delete.
    "service": [("workspace", "USE"), *((kind, "MANAGE") for kind in MLFLOW_TYPES)],
}


def ensure_accounts(stack: Stack) -> None:
    """MLflow's roles and the tasks' login. Repeatable."""
    with _mlflow(stack) as mlflow:
        _ensure_roles(mlflow)
        _ensure_user(mlflow, "darkroom", credentials(stack)["mlflow_service"], "service")


def ensure_administrator(stack: Stack) -> None:
    """Airflow's first administrator, with the generated password; MLflow makes its own at its first start."""
    login = credentials(stack)
    _airflow_account(stack, login["user"], "admin", login["password"])


def add_account(stack: Stack, name: str, role: str) -> str:
    """Makes an account in Airflow and MLflow, or gives it this role and a new password; returns the password."""
    if role not in AIRFLOW_ROLES:
        raise CannotRun(f"ROLE={role} is not a role. Choose one of {', '.join(AIRFLOW_ROLES)}.")
    if not re.fullmatch(r"[a-z][a-z0-9._-]{1,30}", name) or name in ("darkroom", credentials(stack)["user"]):
        raise CannotRun(f"NAME={name} cannot be an account: small letters, digits, . _ -, and not a service's name.")
    password = secrets.token_urlsafe(12)
    _airflow_account(stack, name, role, password)
    with _mlflow(stack) as mlflow:
        _ensure_user(mlflow, name, password, role)
    return password


def remove_account(stack: Stack, name: str) -> None:
    """Ends an account in both."""
    if name in ("darkroom", credentials(stack)["user"]):
        raise CannotRun(f"NAME={name} belongs to the stack itself.")
    _airflow_account(stack, name, None, "")
    with _mlflow(stack) as mlflow:
        _call(mlflow, "DELETE", "/2.0/mlflow/users/delete", json={"username": name})


def _airflow_account(stack: Stack, name: str, role: str | None, password: str) -> None:
    wanted = {"name": name, "role": role and AIRFLOW_ROLES[role], "password": password}
    command = [str(stack.bin / "python"), "-m", "infra.stack.airflow_account"]
    run_once(stack, "airflow-accounts", command, airflow_environment(stack), given=json.dumps(wanted))


def _mlflow(stack: Stack) -> httpx.Client:
    login = credentials(stack)
    auth = (login["user"], login["password"])
    return httpx.Client(base_url=f"{stack.mlflow_url}/api", auth=auth, timeout=60, trust_env=False)


def _ensure_roles(mlflow: httpx.Client) -> None:
    there = {role["name"]: role for role in _roles(mlflow)}
    for name, grants in MLFLOW_ROLES.items():
        body = {"workspace": WORKSPACE, "name": name}
        role = there.get(name) or _call(mlflow, "POST", "/3.0/mlflow/roles/create", json=body)["role"]
        answer = _call(mlflow, "GET", "/3.0/mlflow/roles/permissions/list", params={"role_id": role["id"]})
        granted = {(one["resource_type"], one["permission"]) for one in answer["role_permissions"]}
        for kind, permission in grants:
            if (kind, permission) not in granted:
                grant = {"resource_type": kind, "resource_pattern": "*", "permission": permission}
                _call(mlflow, "POST", "/3.0/mlflow/roles/permissions/add", json={"role_id": role["id"], **grant})


def _roles(mlflow: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(mlflow, "GET", "/3.0/mlflow/roles/list")["roles"]
    return found


def _ensure_user(mlflow: httpx.Client, name: str, password: str, role: str) -> None:
    answer = mlflow.get("/2.0/mlflow/users/get", params={"username": name})
    login = {"username": name, "password": password}
    if answer.status_code == 404:
        _call(mlflow, "POST", "/2.0/mlflow/users/create", json=login)
    else:
        _call(mlflow, "PATCH", "/2.0/mlflow/users/update-password", json=login)
    admin = {"username": name, "is_admin": role == "admin"}
    _call(mlflow, "PATCH", "/2.0/mlflow/users/update-admin", json=admin)
    ids = {one["name"]: one["id"] for one in _roles(mlflow)}
    held = _call(mlflow, "GET", "/3.0/mlflow/users/roles/list", params={"username": name})["roles"]
    for one in held:
        if one["name"] in MLFLOW_ROLES and one["name"] != role:
            _call(mlflow, "DELETE", "/3.0/mlflow/roles/unassign", json={"username": name, "role_id": one["id"]})
    if role in ids and role not in {one["name"] for one in held}:
        _call(mlflow, "POST", "/3.0/mlflow/roles/assign", json={"username": name, "role_id": ids[role]})


def _call(mlflow: httpx.Client, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    answer = mlflow.request(method, path, **kwargs)
    if answer.is_error:
        raise CannotRun(f"MLflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found
