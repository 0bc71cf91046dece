"""Self sign-up in Airflow's real API app, with FAB's real accounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "ann", "password": "a long enough one"}
# Airflow reads its configuration once, at import: the app lives in a process of its own.
PROGRAM = """
import json, sys
from airflow.utils.db import initdb
initdb()
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient
client = TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False)
answers = []
for method, path, sent, headers in json.loads(sys.argv[1]):
    answer = client.request(method, path, headers=headers, **sent)
    if answer.headers.get("content-type", "").startswith("application/json") and "access_token" in answer.json():
        client.headers["Authorization"] = "Bearer " + answer.json()["access_token"]
    answers.append([answer.status_code, answer.text])
print("ANSWERS", json.dumps(answers))
"""


def asked(home: Path, requests: list[Any], **settings: str) -> list[tuple[int, str]]:
    """(status, text) of each request, (method, path, {data or json}, headers), on a new Airflow in ``home``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DARKROOM_"))}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__FAB__CONFIG_FILE": str(ROOT / "infra/stack/fab_config.py"),
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(requests)],
        env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    assert told, done.stdout[-2000:] + done.stderr[-4000:]
    assert GOOD["password"] not in done.stdout.replace(told[0], "") + done.stderr
    return [(status, text) for status, text in json.loads(told[0].removeprefix("ANSWERS"))]


def sign_up(headers: dict[str, str] | None = None, **changes: str) -> list[Any]:
    return ["POST", "/signup/", {"data": {**GOOD, **changes}}, headers or {}]


def it_makes_viewers_and_nothing_more(tmp_path: Path) -> None:
    login = {"json": {"username": GOOD["name"], "password": GOOD["password"]}}
    answers = asked(
        tmp_path,
        [
            ["GET", "/signup/", {}, {}],
            sign_up(name="Ann; drop"),
            sign_up(password="short"),
            sign_up(password="ann-has-her-name-in-it"),
            sign_up({"Sec-Fetch-Site": "cross-site"}),
            sign_up(),
            sign_up(password="another long one"),
            ["POST", "/auth/token", login, {}],
            ["GET", "/api/v2/dags", {}, {}],
            ["POST", "/api/v2/variables", {"json": {"key": "door", "value": "1"}}, {}],
            ["GET", "/auth/fab/v1/users", {}, {}],
        ],
        DARKROOM_SELF_SIGNUP="true",
    )
    assert [status for status, _ in answers] == [200, 400, 400, 400, 403, 201, 409, 201, 200, 403, 403]
    assert "<form" in answers[0][1]
    assert "Ann; drop" not in answers[1][1]


def it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert asked(tmp_path, [["GET", "/signup/", {}, {}], sign_up()]) == [(404, ""), (404, "")]
