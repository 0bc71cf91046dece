"""The compose file, loaded as docker compose loads it: who runs, as whom, what is open, and where secrets are."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from darkroom.settings import Settings
from infra import container_secrets
from tests.containers.programs import read

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
ONCE = {"s3-init", "airflow-init"}
SERVICES = {
    *("postgres", "s3", "mlflow", "spark-master", "spark-worker"),
    *("airflow-api", "airflow-scheduler", "airflow-dags", "airflow-triggerer"),
}


def it_has_the_whole_stack(project):
    assert set(project["services"]) == SERVICES | ONCE


def it_runs_nothing_as_root_and_grants_no_capability(project, engine):
    assert int(engine["CONTAINER_UID"]) > 0
    for name, service in project["services"].items():
        assert service["user"] == f"{engine['CONTAINER_UID']}:{engine['CONTAINER_GID']}", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"cap_add", "privileged"} & set(service), name


def it_pins_every_image(project):
    for name, service in project["services"].items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[a-z0-9.-]*", service["image"]), (name, service["image"])


def it_publishes_three_ports_on_loopback_only(project):
    ports = {(name, port["host_ip"]) for name, one in project["services"].items() for port in one.get("ports", [])}
    assert ports == {(name, "127.0.0.1") for name in ("airflow-api", "mlflow", "s3")}
    assert all(service.get("network_mode") is None for service in project["services"].values())


def it_checks_the_health_of_all_that_stays(project):
    for name in SERVICES:
        service = project["services"][name]
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
    for name in ONCE:
        assert project["services"][name]["restart"].startswith("on-failure"), name


def it_waits_for_what_a_service_needs(project):
    waits = {name: one.get("depends_on", {}) for name, one in project["services"].items()}
    for name, needs in waits.items():
        for other, need in needs.items():
            expected = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert need["condition"] == expected, (name, other)
    for name in ("airflow-api", "airflow-scheduler", "airflow-dags", "airflow-triggerer"):
        assert "airflow-init" in waits[name]


def it_carries_no_secret_in_its_text(project, container_home):
    text = json.dumps(project)
    for name in container_secrets.NAMES:
        assert (container_home / "secrets" / name).read_text() not in text, name
    for name, service in project["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY|FERNET", variable):
                assert re.fullmatch(r"(cat )?/run/secrets/[a-z0-9-]+", value), (name, variable)


def it_gives_each_service_the_secrets_that_it_reads_and_no_others(project):
    for name, service in project["services"].items():
        given = {secret["source"] for secret in service.get("secrets", [])}
        text = json.dumps([service.get("environment"), service["command"]])
        used = set(re.findall(r"/run/secrets/([a-z0-9-]+)", text))
        if name == "postgres":
            script = (ROOT / "infra/images/postgres_init.sh").read_text()
            used |= set(re.findall(r"\$secrets/([a-z0-9-]+)", script))
        if name == "s3-init":
            used = {f"{kind}-key" for kind in ("s3-root-access", "s3-root-secret")}
            used |= {f"{bucket}-{kind}-key" for bucket in ("lake", "mlflow") for kind in ("access", "secret")}
        assert given == used, name


def it_sets_only_settings_that_exist(project):
    known = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields}
    for name, service in project["services"].items():
        ours = {one.removesuffix("_FILE") for one in (service.get("environment") or {}) if one.startswith("DARKROOM_")}
        assert ours <= known, (name, ours - known)


def it_mounts_only_what_is_there(project, container_home):
    for name, service in project["services"].items():
        for mount in service.get("volumes", []):
            source = Path(mount["source"])
            assert source.exists(), (name, source)
            assert source.is_relative_to(container_home) or mount.get("read_only"), (name, source)


def it_says_what_to_do_when_the_secrets_were_not_made():
    done = read("compose", ROOT / "infra" / "compose.yaml")
    assert done.returncode == 1
    assert "run: make containers-up" in done.stderr


def it_makes_secrets_once_for_the_owner_alone(tmp_path):
    first = container_secrets.make(tmp_path / "home")
    second = container_secrets.make(tmp_path / "home", s3_port=9100)
    assert first == second
    assert len(set(first.values())) == len(container_secrets.NAMES)
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        elif path.name != "data":
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    assert not any(value.endswith("\n") for value in first.values())
    client = (tmp_path / "home" / "client.env").read_text()
    assert "DARKROOM_S3_ENDPOINT=http://127.0.0.1:9100" in client


def it_keeps_the_secrets_out_of_the_repository():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert container_secrets.HOME.relative_to(ROOT).parts[0] + "/" in ignored


def it_has_the_commands_that_the_pages_name():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for suite in re.findall(r"^unit kills [a-z0-9 ]+(?=:)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE):
        targets |= set(suite.split())
    for page in ("containers", "kubernetes"):
        named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "docs" / f"{page}.md").read_text()))
        assert named
        assert named <= targets, page
    done = subprocess.run(
        ["make", "--dry-run", "demo", "PROFILE=compose"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "-m infra.compose demo" in done.stdout, done.stderr
