"""The report route in Airflow's real API app, with Airflow's real login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGE = b"<!doctype html><h1>Images per split</h1>"

# Airflow reads its configuration once, at import: the app lives in a process of its own, which answers one JSON line a
# request. It is Airflow's whole API app, so that its middleware, mounts and error handlers are in the way as in life.
SERVER = """
import json, sys
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.base import Base
from airflow.settings import engine
from starlette.testclient import TestClient
client = TestClient(create_app(apps="core"), raise_server_exceptions=False, follow_redirects=False)
Base.metadata.create_all(engine)
tokens = {
    role or "no role": get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=role or "nobody", role=role))
    for role in ("admin", "viewer", None)
}
tokens["forged"] = tokens["admin"][:-4] + "AAAA"
heavy = [name for name in ("tensorflow", "mlflow", "pyspark", "great_expectations", "deltalake") if name in sys.modules]
bare = [name for name in ("reports", "links", "operators", "common") if name in sys.modules]
from airflow.plugins_manager import get_plugin_info, _get_plugins
plugins = [one["name"] for one in get_plugin_info() if "darkroom" in str(one["source"])]
loaded = {"heavy": heavy, "bare": bare, "plugins": plugins, "errors": _get_plugins()[1]}
print("READY", json.dumps(loaded), flush=True)
for line in sys.stdin:
    ask = json.loads(line)
    headers = {}
    if ask["as"] in tokens:
        headers["Authorization"] = "Bearer " + tokens[ask["as"]]
    if ask.get("cookie") in tokens:
        headers["Cookie"] = "_token=" + tokens[ask["cookie"]]
    answer = client.request(ask.get("method", "GET"), ask["url"], headers=headers)
    print("ANSWER", json.dumps({"status": answer.status_code, "headers": dict(answer.headers),
                                "body": answer.content.decode("latin-1")}), flush=True)
"""


class Server:
    def __init__(self, process: subprocess.Popen[str], loaded: dict[str, Any]) -> None:
        self.process, self.loaded = process, loaded

    def get(self, url: str, who: str = "viewer", **more: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"url": url, "as": who, **more}) + "\n")
        self.process.stdin.flush()
        return json.loads(_line(self.process, "ANSWER"))


def _line(process: subprocess.Popen[str], mark: str) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        if line.startswith(mark):
            return line[len(mark) :]
        seen.append(line)
    raise AssertionError("the server ended: " + "".join(seen[-40:]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("airflow")
    lake = home / "lake"
    report = lake / "reports/datasets/phantom/abc/eda"
    report.mkdir(parents=True)
    (report / "index.html").write_bytes(PAGE)
    (report / "split.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    (report / "summary.json").write_text('{"images": 3}')
    (report / "rows.parquet").write_bytes(b"PAR1")
    (report / "large.html").write_bytes(b"x" * 3_500_000)
    (lake / "reports/datasets/phantom/abc/eda/sp ace & <b>.html").write_bytes(PAGE)
    (lake / "champions").mkdir()
    (lake / "champions/secret.json").write_text("{}")
    (home / "secret.txt").write_text("outside the lake")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "DARKROOM_LAKE": str(lake),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Server(process, json.loads(_line(process, "READY")))
    finally:
        process.kill()
        process.wait()


EDA = "/darkroom/reports/datasets/phantom/abc/eda"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize(
    "url",
    [
        f"{EDA}/index.html",
        f"{EDA}/absent.html",
        "/darkroom/reports/",
        "/darkroom/",
        "/darkroom/docs",
        "/darkroom/redoc",
        "/darkroom/openapi.json",
        "/darkroom/anything/else",
        "/darkroom/reports/%2e%2e/champions/secret.json",
    ],
)
def it_answers_401_and_no_bytes_without_a_login(server: Server, url: str, method: str) -> None:
    answer = server.get(url, "nobody at all", method=method)
    assert (answer["status"], answer["body"]) == (401, "")


def it_refuses_a_forged_login_and_a_user_who_may_not_see_dags(server: Server) -> None:
    for who in ("forged", "no role"):
        answer = server.get(f"{EDA}/index.html", who)
        assert answer["status"] in (401, 403)
        assert answer["body"] == ""


def it_serves_a_report_to_the_header_of_the_api_and_to_the_cookie_of_the_browser(server: Server) -> None:
    by_header = server.get(f"{EDA}/index.html")
    by_cookie = server.get(f"{EDA}/index.html", "nobody at all", cookie="viewer")
    for answer in (by_header, by_cookie):
        assert answer["status"] == 200
        assert answer["body"].encode() == PAGE
        assert answer["headers"]["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["index.html", "absent.html"])
def it_sandboxes_every_page_and_keeps_it_out_of_caches(server: Server, name: str) -> None:
    headers = server.get(f"{EDA}/{name}")["headers"]
    policy = headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "default-src 'none'" in policy
    assert "allow-same-origin" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    ("name", "content_type", "shown"),
    [
        ("split.png", "image/png", True),
        ("summary.json", "application/json", True),
        ("rows.parquet", "application/octet-stream", False),
        ("sp%20ace%20%26%20%3Cb%3E.html", "text/html; charset=utf-8", True),
    ],
)
def it_names_the_content_type(server: Server, name: str, content_type: str, shown: bool) -> None:
    answer = server.get(f"{EDA}/{name}")
    assert answer["status"] == 200
    assert answer["headers"]["content-type"] == content_type
    assert ("content-disposition" not in answer["headers"]) == shown


def it_streams_large_files_and_answers_head_without_a_body(server: Server) -> None:
    assert len(server.get(f"{EDA}/large.html")["body"]) == 3_500_000
    head = server.get(f"{EDA}/large.html", method="HEAD")
    assert (head["status"], head["body"]) == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "../champions/secret.json",
        "%2e%2e/champions/secret.json",
        "..%2fchampions/secret.json",
        "datasets/../../champions/secret.json",
        "datasets%2f..%2f..%2f..%2fsecret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..%5cchampions%5csecret.json",
        "datasets/%00",
        "datasets",
        "",
        "datasets/phantom/abc/eda/",
        "%ff%fe",
        "x" * 5000,
    ],
)
def it_serves_nothing_outside_the_reports(server: Server, path: str) -> None:
    answer = server.get(f"/darkroom/reports/{path}")
    assert answer["status"] == 404
    assert "secret" not in answer["body"] or "There is no report at" in answer["body"]
    assert "root:" not in answer["body"]


def it_says_in_one_escaped_sentence_that_a_report_is_absent(server: Server) -> None:
    body = server.get("/darkroom/reports/%3Cscript%3Ealert(1)%3C/script%3E.html")["body"]
    assert "There is no report at reports/&lt;script&gt;" in body
    assert "<script" not in body


def it_has_no_documentation_pages(server: Server) -> None:
    for path in ("docs", "redoc", "openapi.json"):
        assert server.get(f"/darkroom/{path}")["status"] == 404


def it_takes_no_other_method(server: Server) -> None:
    assert server.get(f"{EDA}/index.html", method="POST")["status"] == 405


def it_loads_as_one_plugin_without_heavy_imports_or_modules_under_bare_names(server: Server) -> None:
    assert server.loaded == {"heavy": [], "bare": [], "plugins": ["darkroom"], "errors": {}}
