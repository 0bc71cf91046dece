"""Locked doors: every port and route of the stack without a login, with a wrong one, and with the wrong role."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys

import httpx
import jwt
import psycopg2
import pytest
from minio import Minio
from minio.error import S3Error

from infra.local.environment import credentials
from infra.stack.environment import BUCKET
from tests.stack.conftest import member_processes

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

# What Airflow answers to anybody: whether it is alive, its version and its API's description. No data.
AIRFLOW_PUBLIC = {
    *("/api/v2/monitor/health", "/api/v2/version", "/execution/health", "/execution/health/ping"),
    *("/api/v2/auth/login", "/api/v2/auth/logout"),  # they lead to the form
}
MLFLOW_PUBLIC = {"/health", "/version"}
SPARK_PAGES = (
    *("/", "/json/", "/metrics/json", "/environment", "/api/v1/applications", "/workers", "/app/?appId=app-1"),
    *("/log?appId=a&executorId=0&logType=stdout", "/logPage/?appId=a&executorId=0&logType=stderr"),
)


def it_listens_on_this_machine_alone_and_on_known_ports(running):
    stack = running.stack
    listening = {
        connection.laddr
        for process in member_processes(stack)
        for connection in process.net_connections(kind="inet")
        if connection.status == "LISTEN"
    }
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == {*stack.ports.values(), stack.airflow_port, stack.mlflow_port}


def it_refuses_postgres_without_its_password(running):
    stack = running.stack
    for user, password in (("postgres", None), ("airflow", ""), ("mlflow", "wrong"), ("nobody", "nobody")):
        with pytest.raises(psycopg2.OperationalError, match=r"password|fe_sendauth"):
            psycopg2.connect(
                host="127.0.0.1", port=stack.ports["postgres"], user=user, password=password, dbname="postgres"
            )
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(f"{stack.database('airflow').replace('+psycopg2', '').rpartition('/')[0]}/mlflow")


def it_refuses_s3_without_keys(running):
    stack = running.stack
    for path in ("/", f"/{BUCKET}", f"/{BUCKET}?list-type=2", f"/{BUCKET}/lake/champions/phantom/1.json"):
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            answer = httpx.request(method, stack.url("s3") + path, timeout=10)
            assert answer.status_code in (400, 401, 403, 405), (method, path, answer.status_code)
            assert "lake/" not in answer.text.replace(path, "")
    address = stack.url("s3").removeprefix("http://")
    for login in ((None, None), ("nobody", "x" * 40), (credentials(stack)["s3_access_key"], "x" * 40)):
        with pytest.raises(S3Error):
            list(Minio(address, *login, secure=False, region="us-east-1").list_objects(BUCKET))


@pytest.mark.parametrize("port", ["spark_ui", "spark_worker_ui"])
def it_refuses_sparks_pages_without_a_signed_token(running, port):
    for path in SPARK_PAGES:
        for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}):
            answer = httpx.get(running.stack.url(port) + path, headers=headers, timeout=20, follow_redirects=True)
            assert answer.status_code in (401, 403, 404), (path, answer.status_code)
            assert "spark://" not in answer.text


def it_opens_sparks_pages_to_a_signed_token(running):
    key = base64.urlsafe_b64decode(credentials(running.stack)["spark_ui"])
    for signed, status in ((key, 200), (b"x" * 48, 403)):
        headers = {"Authorization": f"Bearer {jwt.encode({'sub': 'admin'}, signed, 'HS384')}"}
        assert httpx.get(f"{running.stack.url('spark_ui')}/json/", headers=headers, timeout=20).status_code == status


@pytest.mark.parametrize("secret", ["", "wrong"])
def it_refuses_a_spark_job_without_the_clusters_secret(running, tmp_path, secret):
    conf = tmp_path / "spark-defaults.conf"
    conf.write_text(f"spark.authenticate true\nspark.authenticate.secret {secret}\n" if secret else "")
    job = tmp_path / "job.py"
    job.write_text(
        "from pyspark.sql import SparkSession\nprint('ROWS', SparkSession.builder.getOrCreate().range(3).count())\n"
    )
    command = [os.path.join(os.path.dirname(sys.executable), "spark-submit"), "--master"]
    command += [f"spark://127.0.0.1:{running.stack.ports['spark']}", "--conf", "spark.ui.enabled=false", str(job)]
    environment = {**running.environment, "SPARK_CONF_DIR": str(tmp_path), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode != 0
    assert "ROWS 3" not in done.stdout


def filled(path):
    return re.sub(r"\{[^}]*\}|<[^>]*>", "x", path)


def it_refuses_every_route_of_airflow_without_a_login(running):
    with httpx.Client(base_url=running.stack.airflow_url, timeout=30) as http:
        told = http.get("/openapi.json").json()["paths"]
        routes = [(method.upper(), path) for path, methods in told.items() for method in methods]
        assert len(routes) > 100
        for headers in ({}, {"Authorization": "Bearer not.a.token"}):
            open_routes = []
            for method, path in routes:
                answer = http.request(method, filled(path), headers=headers, json={} if method != "GET" else None)
                if answer.status_code not in (401, 403) and path not in AIRFLOW_PUBLIC:
                    open_routes.append((method, path, answer.status_code))
            # FAB's own login routes want a login in their body; theirs are the only ones that look at it first.
            assert [one for one in open_routes if not one[1].startswith("/auth/")] == []
            assert all(status in (302, 307, 400, 404, 405, 422) for *_, status in open_routes), open_routes
        for path in ("/darkroom/reports/x", "/darkroom/", "/auth/fab/v1/users", "/auth/fab/v1/roles"):
            assert http.get(path).status_code in (401, 403), path
        for path in ("/auth/users/list/", "/auth/roles/list/", "/auth/resetmypassword/form"):
            answer = http.get(path)
            assert answer.status_code in (302, 307, 401, 403, 404), path
        for path in ("/auth/register/form", "/auth/registeruser/form", "/signup/"):
            assert http.get(path).status_code in (302, 401, 403, 404), path


def it_gives_airflows_roles_their_rights_and_no_more(running, logins):
    asked = [
        ("GET", "/api/v2/dags", None),
        ("PATCH", "/api/v2/dags/train_model", {"is_paused": False}),
        ("POST", "/api/v2/variables", {"key": "door", "value": "1"}),
        ("GET", "/auth/fab/v1/users", None),
    ]
    expected = {"viewer": [200, 403, 403, 403], "editor": [200, 200, 201, 403], "admin": [200, 200, 409, 200]}
    for role, (name, password) in logins.items():
        with httpx.Client(base_url=running.stack.airflow_url, timeout=60) as http:
            wrong = http.post("/auth/token", json={"username": name, "password": "wrong"})
            assert wrong.status_code == 401
            token = http.post("/auth/token", json={"username": name, "password": password}).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            got = [http.request(method, path, headers=headers, json=body) for method, path, body in asked]
            assert [answer.status_code for answer in got] == expected[role], role
            assert (http.get("/darkroom/reports/none", headers=headers).status_code) == 404


def it_refuses_every_route_of_mlflow_without_a_login(running):
    from mlflow.server import app
    from mlflow.server.handlers import get_endpoints

    routes = {(method, path) for path, _, methods in get_endpoints() for method in methods}
    routes |= {(m, rule.rule) for rule in app.url_map.iter_rules() for m in rule.methods - {"HEAD", "OPTIONS"}}
    routes |= {("GET", "/signup"), ("POST", "/api/2.0/mlflow/users/create"), ("POST", "/graphql"), ("GET", "/metrics")}
    assert len(routes) > 100
    with httpx.Client(base_url=running.stack.mlflow_url, timeout=30) as http:
        for auth in (None, ("admin", "wrong")):
            answers = {
                (method, path): http.request(method, filled(path), auth=auth, json={} if method != "GET" else None)
                for method, path in sorted(routes)
            }
            loose = {
                (key, answer.status_code)
                for key, answer in answers.items()
                if answer.status_code not in (401, 403, 404, 405) and key[1] not in MLFLOW_PUBLIC
                and not key[1].startswith("/static-files") and not key[1].endswith("/server-info")
            }  # fmt: skip
            assert loose == set()


def it_gives_mlflows_roles_their_rights_and_no_more(running, logins):
    asked = [
        ("GET", "experiments/search?max_results=5", {}),
        ("POST", "experiments/create", {"name": "door-{role}"}),
        ("POST", "registered-models/create", {"name": "door-{role}"}),
        ("POST", "users/create", {"username": "door-{role}", "password": "only-for-this-test"}),
    ]
    expected = {"viewer": [200, 403, 403, 403], "editor": [200, 200, 200, 403], "admin": [200] * 4}
    for role, login in logins.items():
        got = []
        for method, path, body in asked:
            body = {name: value.format(role=role) for name, value in body.items()} or None
            url = f"{running.stack.mlflow_url}/api/2.0/mlflow/{path}"
            got.append(httpx.request(method, url, json=body, auth=login, timeout=60).status_code)
        assert got == expected[role], role


def it_ends_an_account_in_both(running, logins):
    done = running.command("account", NAME="gone", ROLE="viewer")
    login = ("gone", done.stdout.split()[-1])
    url = f"{running.stack.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(url, auth=login).status_code == 200
    ended = running.command("account", NAME="gone", ROLE="none")
    assert ended.returncode == 0, ended.stderr
    assert httpx.get(url, auth=login).status_code == 401
    body = {"username": login[0], "password": login[1]}
    assert httpx.post(f"{running.stack.airflow_url}/auth/token", json=body, timeout=30).status_code == 401


def it_answers_nothing_on_sparks_rpc_port(running):
    for port in ("spark", "spark_worker"):
        with socket.create_connection(("127.0.0.1", running.stack.ports[port]), timeout=5) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            probe.settimeout(3)
            try:
                assert b"HTTP/1.1 200" not in probe.recv(200)
            except TimeoutError:
                continue
