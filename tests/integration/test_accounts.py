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
from tests.integration.servers import free_port, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "infra" / "images"
DOCKERFILE = (IMAGES / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"]
NOTES = (ROOT / "infra" / "helm" / "darkroom" / "templates" / "NOTES.txt").read_text()

Login = tuple[str, str] | None
OTHER = "only-for-this-test"
KUBECTL = """#!/bin/sh
if [ "$3" = get ]; then exec base64 {secret}; fi
until [ "$1" = -- ]; do shift; done
shift
exec "$@"
"""

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
    asked = [("GET", "/api/v2/dags", None), ("GET", "/api/v2/pools/spark", None)]
    asked += [("POST", "/api/v2/variables", {"key": role, "value": "1"}), ("GET", "/auth/fab/v1/users", None)]
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

    def done(
        self, *command: str, given: str = "", service: str = "airflow-init", **others: str
    ) -> subprocess.CompletedProcess[str]:
        """A command behind the image's entry point, in a service's environment."""
        return subprocess.run(
            [str(self.home / "with_secrets.sh"), *command], env=self.airflow(service) | others, input=given,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def run(self, *command: str, **how: str) -> str:
        """What a command says that must succeed."""
        done = self.done(*command, **how)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout.strip()

    def refusal(self, *arguments: str, **how: str) -> str:
        """The one line by which the accounts command refuses; Airflow may log above it."""
        done = self.done(str(IMAGES / "accounts.sh"), *arguments, **how)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("darkroom: ")]
        return line

    def people(self, words: str) -> str:
        """What an administrator of Kubernetes is told by the command of the chart's notes.

        It runs in the API's container, which does not know the administrators. In place of kubectl and a cluster
        stands a script that prints the Secret's key and has the environment of a container.
        """
        values = {"Release.Namespace": "imaging", "Release.Name": "demo", "Values.secretName": "keys"}
        notes = re.sub(r"\{\{ \.([A-Za-z.]+) \}\}", lambda found: values[found[1]], NOTES)
        command = notes[notes.index("  kubectl -n imaging get secret") :].replace("/opt/darkroom/bin", str(IMAGES))
        assert command.count("add ann viewer") == 1
        kubectl = self.home / "bin" / "kubectl"
        kubectl.parent.mkdir(exist_ok=True)
        kubectl.write_text(KUBECTL.format(secret=self.home / "secrets" / "mlflow-admin-password"))
        kubectl.chmod(0o755)
        path = f"{kubectl.parent}{os.pathsep}{self.airflow('airflow-api')['PATH']}"
        script = ["bash", "-euo", "pipefail", "-c", command.replace("add ann viewer", words)]
        return self.run(*script, service="airflow-api", PATH=path)

    def secret(self, name: str) -> str:
        return (self.home / "secrets" / name).read_text()

    def ask(self, login: Login, path: str, method: str = "POST", **body: Any) -> int:
        """The status of a call to MLflow's API."""
        url = f"{self.mlflow}/api/2.0/mlflow/{path}"
        return httpx.request(method, url, auth=login, json=body or None, timeout=60).status_code

    def doors(self, logins: dict[str, tuple[str, str]]) -> dict[str, list[int]]:
        """What Airflow's API answers each login: DAGs, a pool, a new variable, accounts."""
        told = self.run("python", "-c", DOORS, service="airflow-api", given=json.dumps(logins))
        (line,) = [line for line in told.splitlines() if line.startswith("FOUND")]
        found: dict[str, list[int]] = json.loads(line.removeprefix("FOUND"))
        return found


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """MLflow as its image starts it, and Airflow's init script done, which waits for MLflow as on Kubernetes."""
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
    with (home / "log").open("wb") as log, running(words, environment, log):
        told = made.run(str(IMAGES / "airflow_init.sh"))
        assert not [name for name in container_secrets.NAMES if made.secret(name) in told]
        yield made


@pytest.fixture(scope="module")
def logins(containers: Containers) -> dict[str, tuple[str, str]]:
    """A name and a password for each role."""
    told = {
        "viewer": containers.people("add vera viewer"),
        "editor": containers.run(str(IMAGES / "accounts.sh"), "add", "edgar", "editor"),
        "admin": containers.run(str(IMAGES / "accounts.sh"), "add", "ada", "admin"),
    }
    for role, line in told.items():
        assert re.fullmatch(rf"[a-z]+ is {role} in Airflow and MLflow; password \S{{16}}", line), role
    return {role: (line.split()[0], line.split()[-1]) for role, line in told.items()}


@pytest.fixture(scope="module")
def logged(containers: Containers) -> dict[str, list[str]]:
    """What a task left in MLflow, with the login that the scheduler's tasks have."""
    told = containers.run("python", "-c", TASK, service="airflow-scheduler")
    return {name: rest for name, *rest in (line.split() for line in told.splitlines() if line)}


def it_lets_a_task_log_register_and_delete_what_it_made(containers: Containers, logged: dict[str, list[str]]) -> None:
    assert set(logged) == {"kept", "gone"}
    service = ("darkroom", containers.secret("mlflow-service-password"))
    assert containers.ask(service, "users/create", username="by-a-task", password=OTHER) == 403
    assert containers.ask(service, "users/update-password", "PATCH", username="admin", password=OTHER) == 403


def it_gives_mlflows_roles_their_rights_and_no_more(
    containers: Containers, logins: dict[str, tuple[str, str]], logged: dict[str, list[str]]
) -> None:
    experiment, run = logged["kept"]
    doors: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"experiments/get?experiment_id={experiment}", {}),
        ("POST", "experiments/create", {"name": "of-{role}"}),
        ("POST", "registered-models/create", {"name": "of-{role}"}),
        ("POST", "runs/create", {"experiment_id": experiment}),
        ("POST", "runs/log-metric", {"run_id": run, "key": "a", "value": 1, "timestamp": 1}),
        ("POST", "registered-models/alias", {"name": "of-tasks-kept", "alias": "{role}", "version": "1"}),
        ("DELETE", "registered-models/delete", {"name": "of-{role}"}),
        ("DELETE", "registered-models/delete", {"name": "of-tasks-kept"}),
        ("POST", "experiments/delete", {"experiment_id": experiment}),
        ("POST", "users/create", {"username": "by-{role}", "password": OTHER}),
        ("PATCH", "users/update-password", {"username": "by-admin", "password": OTHER}),
    ]
    assert containers.ask(("vera", "wrong"), doors[0][1], "GET") == 401
    asked: dict[str, Login] = {"nobody": None, **logins}
    got = {
        role: [
            containers.ask(login, path, method, **{name: str(value).format(role=role) for name, value in body.items()})
            for method, path, body in doors
        ]
        for role, login in asked.items()
    }
    assert got == {
        "nobody": [401] * 11,
        "viewer": [200, *[403] * 10],
        "editor": [*[200] * 7, *[403] * 4],
        "admin": [200] * 11,
    }


def it_shows_nothing_to_who_has_no_role(containers: Containers, logged: dict[str, list[str]]) -> None:
    login = ("norbert", OTHER)
    administrator = ("admin", containers.secret("mlflow-admin-password"))
    assert containers.ask(administrator, "users/create", username=login[0], password=login[1]) == 200
    assert containers.ask(login, f"experiments/get?experiment_id={logged['kept'][0]}", "GET") == 403
    assert containers.ask(login, "experiments/create", name="of-norbert") == 403


def it_gives_airflows_roles_their_rights_and_no_more(
    containers: Containers, logins: dict[str, tuple[str, str]]
) -> None:
    administrator = ("admin", containers.secret("airflow-admin-password"))
    found = containers.doors({**logins, "administrator": administrator, "nobody": ("vera", "wrong")})
    assert found == {
        "viewer": [200, 200, 403, 403],
        "editor": [200, 200, 201, 403],
        "admin": [200, 200, 201, 200],
        "administrator": [200, 200, 201, 200],
        "nobody": [401, 401, 401, 401],
    }


def it_gives_the_services_changed_passwords_each_time(containers: Containers) -> None:
    old = containers.secret("mlflow-service-password")
    (containers.home / "secrets" / "mlflow-service-password").write_text(OTHER)
    told = containers.run(str(IMAGES / "accounts.sh"), "ensure")
    assert told == "MLflow's roles, its login darkroom and Airflow's admin are as they should be"
    asked = [containers.ask(("darkroom", word), "experiments/search?max_results=1", "GET") for word in (old, OTHER)]
    assert asked == [401, 200]


def it_changes_and_ends_an_account(containers: Containers, logins: dict[str, tuple[str, str]]) -> None:
    name, old = logins["editor"]
    new = containers.people(f"add {name} viewer").split()[-1]
    search = "experiments/search?max_results=1"
    assert [containers.ask((name, word), search, "GET") for word in (old, new)] == [401, 200]
    assert containers.ask((name, new), "experiments/create", name="too-late") == 403
    assert containers.people(f"remove {name}") == f"the account {name} is gone from Airflow and MLflow"
    assert containers.ask((name, new), search, "GET") == 401
    assert containers.refusal("remove", name).startswith(f"darkroom: NAME={name} has no account in Airflow or MLflow.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "ann", "owner"), "ROLE=owner is not a role. Choose one of viewer, editor, admin."),
        (("add", "Ann; drop", "viewer"), "NAME=Ann; drop cannot be an account: "),
        (("add", "", "viewer"), "NAME= cannot be an account: "),
        (("add", "darkroom", "viewer"), "NAME=darkroom cannot be changed here: "),
        (("remove", "admin"), "NAME=admin cannot be changed here: "),
    ],
)
def it_refuses_what_cannot_be_an_account(containers: Containers, words: tuple[str, ...], said: str) -> None:
    assert containers.refusal(*words).startswith(f"darkroom: {said}")


def it_says_in_one_line_what_stands_in_the_way(containers: Containers) -> None:
    add = ("add", "ann", "viewer")
    assert "MLFLOW_AUTH_ADMIN_PASSWORD is not set" in containers.refusal(*add, service="airflow-api")
    wrong = containers.refusal(*add, service="airflow-api", MLFLOW_AUTH_ADMIN_PASSWORD="wrong")
    assert "refused the password of admin" in wrong
    nowhere = containers.refusal(*add, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    assert "MLflow does not answer at http://127.0.0.1:" in nowhere
