"""Accounts as the containers make them: the image's init script and its accounts command, on a real MLflow and Airflow.

Commands, files and names of variables are those of infra/images and infra/compose.yaml; only addresses are others, and
both servers keep their state in SQLite here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra import container_secrets
from tests.integration.servers import free_port, running, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "infra" / "images"
DOCKERFILE = (IMAGES / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"]
NOTES = (ROOT / "infra" / "helm" / "darkroom" / "templates" / "NOTES.txt").read_text()

Login = tuple[str, str] | None

# What a task does at MLflow: logs a run and an artifact, registers a model, moves an alias, deletes.
TASK = """
import os
from mlflow import MlflowClient
client = MlflowClient()
for name in ("kept", "gone"):
    experiment = client.create_experiment(f"of-tasks-{name}")
    run = client.create_run(experiment).info
    client.log_metric(run.run_id, "loss", 0.5)
    client.log_text(run.run_id, "text", "note.txt")
    client.create_registered_model(f"of-tasks-{name}")
    version = client.create_model_version(f"of-tasks-{name}", f"{run.artifact_uri}/note.txt", run.run_id).version
    client.set_registered_model_alias(f"of-tasks-{name}", "champion", version)
    print(name, experiment, run.run_id)
client.delete_registered_model_alias("of-tasks-gone", "champion")
client.delete_registered_model("of-tasks-gone")
client.delete_run(run.run_id)
client.delete_experiment(experiment)
"""
# Airflow reads its configuration once, at import: the app lives in a process of its own.
DOORS = """
import json, sys
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient
client = TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False)
found = {}
for role, (name, password) in json.load(sys.stdin).items():
    token = client.post("/auth/token", json={"username": name, "password": password}).json().get("access_token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    asked = [("GET", "/api/v2/dags", None), ("GET", "/auth/fab/v1/users", None), ("GET", "/api/v2/pools/spark", None)]
    asked.append(("POST", "/api/v2/variables", {"key": role, "value": "1"}))
    found[role] = [client.request(method, path, headers=headers, json=body).status_code for method, path, body in asked]
print("FOUND", json.dumps(found))
"""


@dataclass(frozen=True)
class Containers:
    """Services of the compose file, run here: what each finds in its environment, and its files."""

    home: Path
    mlflow: str

    def environment(self, service: str, **others: str) -> dict[str, str]:
        """The service's variables; its secrets' files are in this folder, and ``others`` replace addresses."""
        given = {
            name: value.replace("/run/secrets", f"{self.home}/secrets")
            for name, value in COMPOSE[service]["environment"].items()
        }
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        return {"PATH": path, "HOME": str(self.home), "MLFLOW_DISABLE_TELEMETRY": "true", **kept, **given, **others}

    def airflow(self, service: str) -> dict[str, str]:
        """As the image sets Airflow up, on a database in a file."""
        image = dict(re.findall(r"(AIRFLOW__CORE__[A-Z_]+)=(\S+)", DOCKERFILE))
        here = {
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home}/airflow.db",
            "MLFLOW_TRACKING_URI": self.mlflow,
        }
        return self.environment(service, **(image | here))

    def run(self, *command: str, given: str = "", service: str = "airflow-init", **others: str) -> str:
        """What a command behind the image's entry point says. Raises CalledProcessError when it fails."""
        return subprocess.run(
            [str(self.home / "with_secrets.sh"), *command], env=self.airflow(service) | others, input=given,
            capture_output=True, text=True, timeout=200, check=True,
        ).stdout  # fmt: skip

    def refusal(self, *arguments: str, service: str = "airflow-init", **others: str) -> str:
        """The one line by which the accounts command refuses."""
        with pytest.raises(subprocess.CalledProcessError) as refused:
            self.run(str(IMAGES / "accounts.sh"), *arguments, service=service, **others)
        assert refused.value.returncode == 1
        assert refused.value.stdout == ""
        (line,) = refused.value.stderr.splitlines()
        return line

    def account(self, *arguments: str) -> str:
        """Runs the accounts command; the last word of what it says."""
        return self.run(str(IMAGES / "accounts.sh"), *arguments).split()[-1]

    def secret(self, name: str) -> str:
        return (self.home / "secrets" / name).read_text()

    def ask(self, login: Login, path: str, method: str = "POST", **body: Any) -> int:
        """The status of a call to MLflow's API."""
        url = f"{self.mlflow}/api/2.0/mlflow/{path}"
        return httpx.request(method, url, auth=login, json=body or None, timeout=60).status_code

    def doors(self, logins: dict[str, tuple[str, str]]) -> dict[str, list[int]]:
        """What Airflow's API answers each login: DAGs, accounts, a pool, a new variable."""
        told = self.run("python", "-c", DOORS, given=json.dumps(logins), service="airflow-api")
        (line,) = [line for line in told.splitlines() if line.startswith("FOUND")]
        found: dict[str, list[int]] = json.loads(line.removeprefix("FOUND"))
        return found


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """MLflow up as its image starts it, and Airflow's init script done."""
    home = tmp_path_factory.mktemp("containers")
    container_secrets.make(home)
    script = (IMAGES / "with_secrets.sh").read_text()
    (home / "with_secrets.sh").write_text(script.replace("/run/secrets/", f"{home}/secrets/"))
    (home / "with_secrets.sh").chmod(0o755)
    ini = (IMAGES / "basic_auth.ini").read_text()
    (home / "basic_auth.ini").write_text(re.sub("(?m)(?<=^database_uri = ).*", f"sqlite:///{home}/auth.db", ini))
    made = Containers(home, f"http://127.0.0.1:{free_port()}")
    (command,) = re.findall(r'^CMD (\["mlflow".*\])$', DOCKERFILE, re.MULTILINE)
    here = {"0.0.0.0": "127.0.0.1", "5500": made.mlflow.rpartition(":")[2]}
    environment = made.environment(
        "mlflow",
        MLFLOW_AUTH_CONFIG_PATH=str(home / "basic_auth.ini"),
        MLFLOW_BACKEND_STORE_URI=f"sqlite:///{home}/mlflow.db",
        MLFLOW_ARTIFACTS_DESTINATION=str(home / "artifacts"),
    )
    words = [str(home / "with_secrets.sh"), *(here.get(word, word) for word in json.loads(command))]
    with (home / "log").open("wb") as log, running(words, environment, log) as server:
        wait_for(f"{made.mlflow}/health", server, home / "log")
        import time

        start = time.monotonic()
        told = made.run(str(IMAGES / "airflow_init.sh"))
        print("INIT", time.monotonic() - start)
        assert not [name for name in container_secrets.NAMES if made.secret(name) in told]
        yield made


@pytest.fixture(scope="module")
def logins(containers: Containers) -> dict[str, tuple[str, str]]:
    """A name and a password for each role: people's by the command, the services' from the secrets."""
    people = {"viewer": "vera", "editor": "edgar", "admin": "ada"}
    made = {role: (name, containers.account("add", name, role)) for role, name in people.items()}
    made["administrator"] = ("admin", containers.secret("mlflow-admin-password"))
    return {**made, "service": ("darkroom", containers.secret("mlflow-service-password"))}


@pytest.fixture(scope="module")
def logged(containers: Containers) -> dict[str, list[str]]:
    """What a task left in MLflow, with the login that the scheduler's tasks have."""
    told = containers.run("python", "-c", TASK, service="airflow-scheduler")
    return {name: rest for name, *rest in (line.split() for line in told.splitlines() if line)}


def it_lets_a_task_log_register_and_delete_what_it_made(containers: Containers, logged: dict[str, list[str]]) -> None:
    assert set(logged) == {"kept", "gone"}


def it_gives_mlflows_roles_their_rights_and_no_more(
    containers: Containers, logins: dict[str, tuple[str, str]], logged: dict[str, list[str]]
) -> None:
    experiment, run = logged["kept"]
    doors: list[tuple[str, dict[str, Any]]] = [
        (f"experiments/get?experiment_id={experiment}", {"method": "GET"}),
        ("experiments/create", {"name": "of-{role}"}),
        ("registered-models/create", {"name": "of-{role}"}),
        ("runs/create", {"experiment_id": experiment}),
        ("runs/log-metric", {"run_id": run, "key": "a", "value": 1, "timestamp": 1}),
        ("registered-models/alias", {"name": "of-tasks-kept", "alias": "{role}", "version": "1"}),
        ("registered-models/delete", {"method": "DELETE", "name": "of-{role}"}),
        ("users/create", {"username": "by-{role}", "password": "only-for-this-test"}),
        ("users/update-password", {"method": "PATCH", "username": "vera", "password": "only-for-this-test"}),
        ("experiments/delete", {"experiment_id": experiment}),
        ("registered-models/delete", {"method": "DELETE", "name": "of-tasks-kept"}),
    ]
    asked: dict[str, Login] = {"nobody": None, "wrong": ("vera", "wrong"), **logins}
    order = ("nobody", "wrong", "viewer", "editor", "service", "admin")
    got = {
        role: [
            containers.ask(
                asked[role], path, **{k: v.format(role=role) if isinstance(v, str) else v for k, v in body.items()}
            )
            for path, body in doors
        ]
        for role in order
    }
    print(got)
    assert got["nobody"] == got["wrong"] == [401] * len(doors)


def it_gives_airflows_roles_their_rights_and_no_more(containers, logins):
    import time

    start = time.monotonic()
    airflows = {
        **logins,
        "administrator": ("admin", containers.secret("airflow-admin-password")),
        "nobody": ("vera", "wrong"),
    }
    print(containers.doors(airflows))
    print(time.monotonic() - start)
