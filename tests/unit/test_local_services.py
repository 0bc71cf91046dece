"""What stands in the way is said in one line before anything is installed or started; the demo's form and screens."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from infra.local.demo import prepare_form
from infra.local.environment import Local, credentials, service_environment
from infra.local.last_screen import last_screen
from infra.local.screen import Screen, Stage, TaskLine
from infra.local.services import CannotRun, check_machine, services_of
from infra.local.variables import record_variables

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def local(tmp_path):
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    return Local(home=tmp_path / "home", airflow_port=ports[0], mlflow_port=ports[1], lake=str(tmp_path / "lake"))


@pytest.fixture
def checkout(tmp_path):
    """A clone with nothing but what set-up reads, and a PATH that holds only what a test puts there."""
    clone = tmp_path / "clone"
    (clone / "infra/images").mkdir(parents=True)
    locks = ("infra/bootstrap.lock", "requirements.lock", "pyproject.toml")
    for name in ("infra/setup.sh", "infra/images/requirements_of.py", *locks):
        shutil.copy(ROOT / name, clone / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cut", "awk", "sed", "head", "df", "mkdir", "dirname", "cat", "rm", "sha256sum", "env"):
        (tools / name).symlink_to(shutil.which(name))
    return clone, tools


def fake(tools, name, script):
    (tools / name).write_text(f"#!/bin/bash\n{script}\n")
    (tools / name).chmod(0o755)


def set_up(checkout, *arguments, **variables):
    clone, tools = checkout
    environment = {"PATH": str(tools), "HOME": str(clone), **variables}
    return subprocess.run(
        [str(clone / "infra/setup.sh"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


GOOD_PYTHON = 'case "$*" in *version_info*) echo 3.12;; esac'
GOOD_JAVA = "echo 'openjdk version \"17.0.9\" 2023-10-17' >&2"


@pytest.mark.parametrize(
    ("python", "java", "df", "words"),
    [
        (None, GOOD_JAVA, None, ["needs Python 3.11, 3.12 or 3.13"]),
        ("echo 3.9", GOOD_JAVA, None, ["needs Python 3.11, 3.12 or 3.13", "python3 is 3.9"]),
        ("echo 3.14", GOOD_JAVA, None, ["needs Python 3.11, 3.12 or 3.13", "python3 is 3.14"]),
        ('case "$*" in *version_info*) echo 3.12;; *) exit 1;; esac', GOOD_JAVA, None, ["no venv", "python3.12-venv"]),
        (GOOD_PYTHON, None, None, ["needs Java 17", "none was found"]),
        (GOOD_PYTHON, "echo 'java version \"11.0.2\"' >&2", None, ["needs Java 17 or newer", "version 11"]),
        (GOOD_PYTHON, GOOD_JAVA, "echo h; echo 'disk 9 9 100 9% /'", ["needs 6000 MB of disk", "100 MB are free"]),
    ],
)
def it_says_in_one_line_what_this_machine_lacks(checkout, python, java, df, words):
    clone, tools = checkout
    if python:
        fake(tools, "python3", python)
    if java:
        fake(tools, "java", java)
    if df:
        (tools / "df").unlink()
        fake(tools, "df", df)
    done = set_up(checkout)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert not (clone / ".darkroom/env").exists()


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def installs(checkout, *arguments, **variables):
    """What set-up says before it installs, and whether it would install; a full disk keeps it from doing so."""
    tools = checkout[1]
    fake(tools, "python3", GOOD_PYTHON)
    fake(tools, "java", GOOD_JAVA)
    (tools / "df").unlink(missing_ok=True)
    fake(tools, "df", "echo h; echo 'disk 9 9 100 9% /'")
    done = set_up(checkout, *arguments, **variables)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr, "of disk for its environment" in done.stderr


@pytest.mark.parametrize(("profile", "variable"), [("local", "AIRFLOW_PORT"), ("stack", "MLFLOW_PORT")])
def it_says_that_a_port_is_taken_before_it_installs(checkout, local, taken, profile, variable):
    ports = {"AIRFLOW_PORT": str(local.airflow_port), "MLFLOW_PORT": str(local.mlflow_port), variable: str(taken)}
    said, would_install = installs(checkout, profile, **ports)
    assert f"port {taken}, wanted for " in said
    assert f"make {variable}={taken + 1} up" in said
    assert not would_install
    assert installs(checkout, **ports)[1]  # set-up alone starts nothing
    assert installs(checkout, "compose", **ports)[1]  # the containers are to be up


def it_takes_a_port_of_our_own_for_no_fault(checkout, local, taken):
    run = checkout[0] / ".darkroom/run"
    run.mkdir(parents=True)
    (run / "airflow-api.pid").write_text(f"{os.getpid()} 1.0")
    assert installs(checkout, "local", AIRFLOW_PORT=str(taken), MLFLOW_PORT=str(local.mlflow_port))[1]


@pytest.mark.parametrize("port", ["abc", "99999", "0", "-1"])
def it_says_that_a_port_is_none_before_it_installs(checkout, port):
    said, would_install = installs(checkout, "local", AIRFLOW_PORT=port)
    assert f"AIRFLOW_PORT={port} is no port" in said
    assert not would_install


def it_names_a_taken_port_and_the_way_out(local):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", local.airflow_port))
        taken.listen()
        with pytest.raises(CannotRun, match=f"port {local.airflow_port}.*AIRFLOW_PORT={local.airflow_port + 1}"):
            check_machine(local)


def it_does_not_mix_two_lakes(local):
    run = local.home / "run"
    run.mkdir(parents=True)
    this = psutil.Process()
    (run / "mlflow.pid").write_text(f"{this.pid} {this.create_time()}")
    (run / "lake").write_text("s3://other/lake")
    with pytest.raises(CannotRun, match=r"mlflow are up on the lake s3://other/lake.*make down"):
        check_machine(local)


def started(local):
    """This very process stands for a service that was started with the environment of now."""
    (local.home / "run").mkdir(parents=True)
    record_variables(local)
    this = psutil.Process()
    (local.home / "run/airflow-scheduler.pid").write_text(f"{this.pid} {this.create_time()}")
    return local.home / "run/variables.json"


@pytest.mark.parametrize("variable", ["DARKROOM_TRAIN_SCHEDULE", "DARKROOM_S3_SECRET_KEY"])
def it_does_not_leave_services_on_other_settings_without_a_word(local, monkeypatch, variable):
    monkeypatch.setenv(variable, "0 3 * * 0")
    kept = started(local)
    check_machine(local)
    for value in ("0 4 * * 0", ""):
        monkeypatch.setenv(variable, value)
        with pytest.raises(CannotRun, match=rf"airflow-scheduler are up .* of {variable}\..*make down") as refused:
            check_machine(local)
        assert "* * 0" not in str(refused.value)
    assert "* * 0" not in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def it_minds_no_setting_that_services_do_not_read(local, monkeypatch):
    started(local)
    monkeypatch.setenv("DARKROOM_REQUIRE_SERVERS", "1")
    monkeypatch.setenv("DARKROOM_TRAIN_SCHEDULE", "")
    check_machine(local)


def it_names_another_port_than_the_services_listen_on(local):
    started(local)
    with pytest.raises(CannotRun, match="other values of MLFLOW_PORT"):
        check_machine(dataclasses.replace(local, mlflow_port=local.mlflow_port + 1))


def it_finds_nothing_wrong_with_free_ports(local):
    check_machine(local)


def it_keeps_the_generated_login_to_this_user(local):
    first = credentials(local)
    assert credentials(local) == first
    assert stat.S_IMODE((local.home / "credentials.json").stat().st_mode) == 0o600
    assert len(first["password"]) >= 12


def it_listens_on_this_machine_only(local):
    environment = service_environment(local)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    mlflow = next(service for service in services_of(local) if service.name == "mlflow")
    assert mlflow.command[mlflow.command.index("--host") + 1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("dataset", "source", "name"),
    [
        ("https://example.org/Chest%20CT.tar.gz?token=1", "archive", "chest-ct"),
        ("s3://bucket/Flowers", "folder", "flowers"),
    ],
)
def it_makes_a_form_of_an_address(dataset, source, name):
    form = prepare_form(dataset, "")
    assert (form["source"], form["dataset"], form["location"]) == (source, name, dataset)


def it_makes_a_form_of_a_folder_or_an_archive(tmp_path):
    (tmp_path / "My Flowers").mkdir()
    (tmp_path / "set.zip").touch()
    assert prepare_form(str(tmp_path / "My Flowers"), '{"seed": 3}') == {
        "dataset": "my-flowers",
        "source": "folder",
        "location": str(tmp_path / "My Flowers"),
        "seed": 3,
    }
    assert prepare_form(str(tmp_path / "set.zip"), "")["source"] == "archive"


@pytest.mark.parametrize(("dataset", "params", "words"), [("not-there", "", "not-there"), ("", "{", "not JSON")])
def it_refuses_a_dataset_that_is_not_there_and_params_that_are_not_json(dataset, params, words):
    with pytest.raises(CannotRun, match=words):
        prepare_form(dataset, params)


def it_prints_each_change_of_a_task_once_where_there_is_no_terminal(capsys):
    with Screen() as screen:
        for state, seconds in [("none", None), ("running", 1.0), ("running", 2.0), ("success", 3.0), ("success", 3.0)]:
            screen.show(Stage("train_model", [TaskLine("plan", state, seconds, "nothing changed")], state="running"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["train_model", "plan", "…", "1"],
        ["train_model", "plan", "✓", "3"],
    ]
    assert lines[-1].endswith("nothing changed")


def it_says_on_24_lines_what_came_of_the_demo(local):
    metrics = {"balanced_accuracy": 0.9, "balanced_accuracy_interval": [0.8, 0.95], "roc_auc": None}
    outcome = {
        "event": {"dataset": "ward", "split_id": "s1"},
        "evaluate": {"test": {"a": metrics, "b": metrics}, "challenger": {"config": "a"}, "page": "reports/x.html"},
        "gate": {"reasons": ["Too few images."]},
        "manifest": {
            "images": 1234,
            "problems": {"empty": 2},
            "duplicates": {"exact": 1, "near": 0},
            "leaks_between_given_splits": 0,
            "contradictions": 1,
        },
        "days": [{"dt": "2026-01-01", "images": 40}],
        "seconds": 240,
        "peak_memory": 3 * 2**30,
    }
    lines = last_screen(local, outcome)
    assert len(lines) <= 24
    text = os.linesep.join(lines)
    assert "NO CHAMPION   Too few images." in text
    assert "1,234 files; 2 broken" in text
    assert "0.900 [0.800, 0.950]" in text
