"""The stack before it runs: what is missing is one line, files hold no secret, lakes are compared row by row."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from darkroom.contract import splits_table
from darkroom.errors import InvalidRequest
from darkroom.storage import open_storage
from darkroom.tables import Table
from infra.local.environment import credentials
from infra.local.services import CannotRun, Service, end_leftovers, pid_file
from infra.local.variables import differing_variables, record_variables
from infra.stack import machine
from infra.stack.accounts import accounts
from infra.stack.compare import compare
from infra.stack.environment import (
    PORTS,
    Stack,
    airflow_environment,
    lake_settings,
    spark_environment,
    stack_from_environment,
)
from infra.stack.shipping import LOCKS
from infra.stack.supervision import ended, status_lines, supervisor_conf

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stack(tmp_path):
    return Stack(tmp_path / "stack", 8080, 5500, "s3://darkroom/lake", dict(PORTS))


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """A machine without PostgreSQL, Go or a server built before."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "DEBIANS_POSTGRES", tmp_path / "none")


@pytest.mark.usefixtures("bare_machine")
def it_names_the_command_that_installs_postgres():
    with pytest.raises(CannotRun, match=r"^needs PostgreSQL.*apt-get install postgresql$"):
        machine.check_tools()


@pytest.mark.usefixtures("bare_machine")
def it_names_the_command_that_installs_go(monkeypatch, tmp_path):
    (tmp_path / "none/15/bin").mkdir(parents=True)
    (tmp_path / "none/15/bin/initdb").touch()
    with pytest.raises(CannotRun, match=r"^needs Go.*apt-get install golang-go$"):
        machine.check_tools()


@pytest.mark.usefixtures("bare_machine")
def it_takes_the_newest_postgres(tmp_path):
    for version in ("9.6", "15", "17"):
        (tmp_path / f"none/{version}/bin").mkdir(parents=True)
        (tmp_path / f"none/{version}/bin/initdb").touch()
    assert machine.find_postgres() == tmp_path / "none/17/bin"


@pytest.mark.usefixtures("bare_machine")
def it_tells_the_status_of_a_stack_that_cannot_be_started_here(stack):
    assert {line.split()[1] for line in status_lines(stack)} == {"down"}


def it_writes_no_secret_into_the_supervisors_configuration(stack):
    keys = credentials(stack)
    text = supervisor_conf(stack)
    assert text.count("autorestart=true") == 9
    assert [name for name, value in keys.items() if name != "user" and value in text] == []


def it_makes_each_secret_once_and_each_of_them_different(stack):
    keys = credentials(stack)
    assert credentials(stack) == keys
    assert len(set(keys.values())) == len(keys)
    assert (stack.home / "credentials.json").stat().st_mode & 0o777 == 0o600


def it_gives_sparks_cluster_no_python_of_ours(stack, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYSPARK_PYTHON", "python-of-ours")
    environment = spark_environment(stack)
    assert environment["PYTHONPATH"] == ""
    assert "PYSPARK_PYTHON" not in environment
    assert str(stack.bin) not in environment["PATH"]


def it_tells_a_changed_setting_from_those_of_its_own_lake(stack, monkeypatch):
    for name in lake_settings(stack):
        monkeypatch.delenv(name, raising=False)
    (stack.home / "run").mkdir(parents=True)
    record_variables(stack)
    for name, value in lake_settings(stack).items():  # as the demo does
        monkeypatch.setenv(name, value)
    assert differing_variables(stack) == []
    monkeypatch.setenv("DARKROOM_SELF_SIGNUP", "true")
    assert differing_variables(stack) == ["DARKROOM_SELF_SIGNUP"]


def it_leaves_the_place_of_spark_to_airflows_connection(stack):
    environment = airflow_environment(stack)
    assert '"host": "spark://127.0.0.1"' in environment["AIRFLOW_CONN_SPARK_DEFAULT"]
    assert environment["AIRFLOW__CORE__AUTH_MANAGER"].endswith("FabAuthManager")
    assert not [name for name in environment if "SIMPLE_AUTH_MANAGER" in name]


def it_ends_what_a_killed_program_left_and_nothing_else(stack):
    (stack.home / "run").mkdir(parents=True)
    service = Service("one", [])
    script = "sleep 300 & echo $!; wait"
    leader = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    other = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        child = psutil.Process(int(leader.stdout.readline()))
        pid_file(stack, service).write_text(f"{leader.pid} {psutil.Process(leader.pid).create_time()}")
        assert end_leftovers(stack, service) == []
        leader.kill()
        leader.wait()
        assert child.is_running()
        assert end_leftovers(stack, service) == [child]
        assert not child.is_running()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def it_ships_the_versions_of_the_lock_file():
    def pins(path):
        return set(re.findall(r"^([a-z0-9-]+==[^ \\]+)", path.read_text(), re.MULTILINE))

    plain, training = (pins(LOCKS[packages]) for packages in ("spark", "spark-training"))
    assert len(plain) > 20
    assert plain < training
    assert training - pins(ROOT / "requirements.lock") == set()


def it_ships_what_features_and_heads_import_and_a_network_only_where_it_is_asked_for():
    names = {packages: set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.M)) for packages, path in LOCKS.items()}
    assert {"scikit-image", "scikit-learn", "mahotas", "opencv-python-headless"} <= names["spark"]
    assert {"tensorflow", "tf2onnx"} == {"tensorflow", "tf2onnx"} & (names["spark-training"] - names["spark"])


def it_refuses_a_choice_of_workers_that_there_is_not(monkeypatch):
    monkeypatch.setenv("SPARK_PACKAGES", "everything")
    with pytest.raises(InvalidRequest, match=r"^SPARK_PACKAGES=everything is unknown. Expected one of: spark, "):
        stack_from_environment()


def it_tells_workers_of_another_choice(stack, monkeypatch):
    for name in lake_settings(stack):
        monkeypatch.delenv(name, raising=False)
    (stack.home / "run").mkdir(parents=True)
    record_variables(stack)
    assert differing_variables(dataclasses.replace(stack, spark_packages="spark-training")) == ["SPARK_PACKAGES"]


@pytest.mark.parametrize(("name", "role"), [("Eve Adams", "viewer"), ("admin", "viewer"), ("eve", "owner"), ("", "")])
def it_refuses_an_account_that_cannot_be(stack, name, role):
    with pytest.raises(CannotRun, match=f"^(NAME={name}|ROLE={role}) "):
        accounts(stack, "add", name, role)


def lake_of(folder, labels):
    lake = open_storage(str(folder))
    rows = [
        {"content_id": f"{number:064d}", "path": f"{number}.png", "label": label, "split": "train", "weight": 1.0}
        | {"copies": 1, "split_id": "s"}
        for number, label in enumerate(labels)
    ]
    spec = splits_table("phantom")
    table = pa.Table.from_pylist(rows, schema=spec.schema).drop_columns(["split_id"])
    Table(lake, spec).commit({"split_id": "s"}, table, {"rows": len(rows)})
    return lake


def it_counts_equal_rows_and_names_the_first_that_differs(tmp_path):
    one, same = lake_of(tmp_path / "a", "xyz"), lake_of(tmp_path / "b", "xyz")
    assert compare(one, same, "phantom") == {"manifest": 0, "split": 3, "examples": 0, "predictions": 0}
    with pytest.raises(ValueError, match="splits: label of row 1 is 'y', not 'q'"):
        compare(one, lake_of(tmp_path / "c", "xqz"), "phantom")
    with pytest.raises(ValueError, match=r"3 rows in .* and 2 in"):
        compare(one, lake_of(tmp_path / "d", "xy"), "phantom")


def it_says_that_nobody_supervises_the_stack_any_more(stack):
    assert ended(stack).startswith("the stack's supervisor has ended. Start it again: make stack.")
