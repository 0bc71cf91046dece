"""Roles mean the same in the stack, in containers and on Kubernetes: the same program, and who holds which password."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra import container_secrets
from infra.stack.environment import PORTS, Stack
from infra.stack.programs import programs_of
from infra.stack.setup import write_configuration
from tests.containers.manifests import CHART, VERSION, containers, pods, template
from tests.containers.programs import helm

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
ADMINISTRATORS = {"airflow-admin-password", "mlflow-admin-password"}
TOLD = """apiVersion: v1
kind: ConfigMap
metadata: {name: told}
data:
  notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}
"""
AIRFLOW = ("airflow-api", "airflow-scheduler", "airflow-dags", "airflow-triggerer")


@pytest.fixture(scope="module")
def manifests():
    return template()


def permissions(text):
    """What MLflow's ini says, its database aside."""
    ini = configparser.ConfigParser()
    ini.read_string(text)
    return {name: value for name, value in ini["mlflow"].items() if name != "database_uri"}


def it_opens_mlflow_to_roles_alone_and_alike_everywhere(tmp_path, monkeypatch, manifests):
    monkeypatch.setattr("infra.stack.setup.shipped", lambda packages: ("packed", "code"))
    stack = Stack(tmp_path, 8080, 5500, "s3://darkroom/lake", dict(PORTS))
    write_configuration(stack)
    stacks = permissions((stack.home / "mlflow" / "auth.ini").read_text())
    assert stacks["default_permission"] == "NO_PERMISSIONS"
    assert stacks["grant_default_workspace_access"] == "false"
    assert permissions((ROOT / "infra/images/basic_auth.ini").read_text()) == stacks
    (chart,) = [one["data"]["basic_auth.ini"] for one in manifests if "basic_auth.ini" in one.get("data", {})]
    assert permissions(chart) == stacks


def it_starts_the_same_mlflow_everywhere(tmp_path, project, manifests, stages):
    (stack,) = [
        one
        for one in programs_of(Stack(tmp_path, 8080, 5500, "s3://darkroom/lake", dict(PORTS)))
        if one.name == "mlflow"
    ]
    (image,) = [one for one in stages["mlflow"]["Instructions"] if one["Name"] == "cmd"]
    for command in (stack.command, image["Details"]["CmdLine"]):
        assert "--enable-workspaces" in command
        assert command[command.index("--app-name") + 1] == "basic-auth"
    assert project["services"]["mlflow"]["command"] is None
    (pod,) = [pod for name, pod in pods(manifests) if name == "demo-mlflow"]
    assert not {"args", "command"} & set(pod["spec"]["containers"][0])


def it_tells_the_administrators_passwords_to_two_services(project):
    held = {
        name: {secret["source"] for secret in service.get("secrets", [])} & ADMINISTRATORS
        for name, service in project["services"].items()
    }
    assert {name: given for name, given in held.items() if given} == {
        "mlflow": {"mlflow-admin-password"},
        "airflow-init": ADMINISTRATORS,
    }


def it_logs_tasks_in_to_mlflow_as_the_service(project):
    for name in (*AIRFLOW, "airflow-init"):
        variables = project["services"][name]["environment"]
        assert variables["MLFLOW_TRACKING_USERNAME"] == "darkroom", name
        assert variables["MLFLOW_TRACKING_PASSWORD_FILE"] == "/run/secrets/mlflow-service-password", name
    without = {"mlflow", "postgres", "s3", "s3-init", "spark-master", "spark-worker"}
    assert not [one for one in without if "mlflow-service-password" in json.dumps(project["services"][one])]


def it_makes_the_logins_before_a_task_can_run(project):
    services = project["services"]
    assert services["airflow-init"]["command"] == ["/opt/darkroom/bin/airflow_init.sh"]
    assert services["airflow-init"]["depends_on"]["mlflow"]["condition"] == "service_healthy"
    for name in AIRFLOW:
        assert services[name]["depends_on"]["airflow-init"]["condition"] == "service_completed_successfully"
    script = (ROOT / "infra/images/airflow_init.sh").read_text()
    assert script.index("airflow db migrate") < script.index("accounts.sh") < script.index("airflow pools")


def it_carries_the_program_and_its_command_in_airflows_image(stages):
    copied = [
        source
        for one in stages["airflow"]["Instructions"]
        if one["Name"] == "copy"
        for source in one["Details"]["SourcePaths"]
    ]
    assert {"plugins", "infra/images/accounts.sh", "infra/images/airflow_init.sh"} <= set(copied)


def secrets_of(pod):
    """The Secret's keys that a pod reads."""
    return {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for container in containers(pod)
        for variable in container.get("env", [])
        if "valueFrom" in variable
    }


def it_tells_the_administrators_passwords_to_two_pods(manifests):
    held = {name: secrets_of(pod) & ADMINISTRATORS for name, pod in pods(manifests)}
    assert {name: keys for name, keys in held.items() if keys} == {
        "demo-mlflow": {"mlflow-admin-password"},
        "demo-init-1": ADMINISTRATORS,
    }


def it_logs_pods_and_drivers_in_to_mlflow_as_the_service(manifests):
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    assert maps["demo-settings"]["MLFLOW_TRACKING_USERNAME"] == "darkroom"
    conf = dict(line.split(" ", 1) for line in maps["demo-spark"]["spark-defaults.conf"].splitlines())
    assert conf["spark.kubernetes.driverEnv.MLFLOW_TRACKING_USERNAME"] == "darkroom"
    driver = "spark.kubernetes.driver.secretKeyRef.MLFLOW_TRACKING_PASSWORD"
    assert conf[driver] == "darkroom:mlflow-service-password"
    assert "mlflow-admin-password" not in json.dumps(maps)
    by_name = dict(pods(manifests))
    for name in ("demo-api", "demo-scheduler", "demo-dags", "demo-triggerer", "demo-init-1", "demo-airflow-task"):
        assert "mlflow-service-password" in secrets_of(by_name[name]), name


def it_asks_for_keys_that_are_made(manifests):
    used = {key for _, pod in pods(manifests) for key in secrets_of(pod)}
    assert used <= set(container_secrets.NAMES)


@pytest.mark.parametrize(
    ("role", "wanted"), [("viewer", ["add", "ann", "viewer"]), ("none", ["remove", "ann"]), ("", ["add", "ann", ""])]
)
def it_has_a_command_for_people(tmp_path, role, wanted):
    told = tmp_path / "told"
    engine = tmp_path / "docker"
    engine.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{told}\n')
    engine.chmod(0o755)
    done = subprocess.run(
        ["make", "containers-account", "NAME=ann", f"ROLE={role}"],
        cwd=ROOT, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = told.read_text().split("\n")[:-1]
    run = words.index("run")
    assert words[run : run + 4] == ["run", "--rm", "--no-deps", "airflow-init"]
    assert words[run + 4 :] == ["/opt/darkroom/bin/accounts.sh", *wanted]


def it_tells_how_to_add_people_on_kubernetes(tmp_path):
    chart = shutil.copytree(CHART, tmp_path / "chart")  # Helm renders notes for a cluster alone: taken in as a manifest
    (chart / "templates" / "told.yaml").write_text(TOLD)
    done = helm(
        "template",
        "demo",
        str(chart),
        "--namespace",
        "imaging",
        "--kube-version",
        VERSION,
        "-s",
        "templates/told.yaml",
        "--set",
        "secretName=keys",
    )
    assert done.returncode == 0, done.stderr
    notes = yaml.safe_load(done.stdout)["data"]["notes"]
    assert "-n imaging get secret keys -o jsonpath='{.data.mlflow-admin-password}'" in notes
    assert re.search(r"-n imaging exec -i deploy/demo-api -- .*accounts\.sh add ann viewer", notes.replace("\\\n", ""))
