"""A mistake in what the two commands are given ends in one sentence and exit code 1, before anything is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import __main__ as commands
from infra.local.demo import prepare_form
from infra.local.services import CannotRun

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path, *arguments, **variables):
    """``python -m <arguments>`` as make calls it, in a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "AIRFLOW"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**kept, "PYTHONPATH": str(ROOT), "DARKROOM_HOME": str(tmp_path / "home"), **variables},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AIRFLOW_PORT", "abc", "AIRFLOW_PORT=abc is no port. Expected a number from 1 to 65535"),
        ("AIRFLOW_PORT", "99999", "AIRFLOW_PORT=99999 is no port"),
        ("AIRFLOW_PORT", "1000008080", "AIRFLOW_PORT=1000008080 is no port"),
        ("MLFLOW_PORT", "0", "MLFLOW_PORT=0 is no port"),
        ("MLFLOW_PORT", "-1", "MLFLOW_PORT=-1 is no port"),
        ("DARKROOM_MAX_IMAGE_BYTES", "x", "DARKROOM_MAX_IMAGE_BYTES=x cannot be used"),
        ("DARKROOM_INBOX_WAIT_SECONDS", "-3", "DARKROOM_INBOX_WAIT_SECONDS=-3 cannot be used"),
        ("DARKROOM_HOME", "~nouser/x", "~ of a user that this machine does not have"),
        ("DARKROOM_LAKE", "~nouser/x", "~ of a user that this machine does not have"),
        ("DARKROOM_HOME", "/dev/null/x", "DARKROOM_HOME=/dev/null/x cannot be made (Not a directory)"),
    ],
)
def it_names_a_setting_that_cannot_be(tmp_path, variable, value, words):
    done = run(tmp_path, "infra.local", "up", **{variable: value})
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "http" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("variable", ["AIRFLOW_PORT", "POSTGRES_PORT"])
def it_names_a_port_of_the_stack_that_cannot_be(tmp_path, variable):
    done = run(tmp_path, "infra.stack", "status", **{variable: "abc"})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"darkroom: {variable}=abc is no port. Expected a number from 1 to 65535: "
        f"{variable}={8080 if variable == 'AIRFLOW_PORT' else 5433}"
    ]


@pytest.mark.parametrize("params", ["[1]", "3", "null", '"text"', "true"])
def it_refuses_params_that_are_no_object(params):
    with pytest.raises(CannotRun, match=r"^PARAMS=.* is no JSON object\. Expected fields of the form\. Example: "):
        prepare_form("", params)


@pytest.mark.parametrize("dataset", ["~nouser/x", "x" * 5000])
def it_refuses_a_dataset_that_cannot_even_be_looked_at(dataset):
    with pytest.raises(CannotRun, match=r"^DATASET=.* cannot be looked at .*Give a folder"):
        prepare_form(dataset, "")


@pytest.mark.parametrize(
    ("dataset", "params", "words"),
    [
        ("s3://bucket/set.zip", "", r"cannot be taken as archive\. Expected .* http://, https://, file://"),
        ("hdfs://name:9000/set.tar.gz", "", "cannot be taken as archive"),
        ("https://example.org/set", '{"source": "folder"}', r"cannot be taken as folder\. Expected .* s3://"),
        ("gopher://ann:secret@example.org/set", "", "DATASET=gopher://example.org/set cannot be taken as folder"),
    ],
)
def it_refuses_an_address_that_its_source_cannot_read(dataset, params, words):
    with pytest.raises(CannotRun, match=words) as refused:
        prepare_form(dataset, params)
    assert "secret" not in str(refused.value)


def it_takes_a_folder_of_a_bucket_that_is_called_like_an_archive():
    form = prepare_form("s3://bucket/set.zip", '{"source": "folder"}')
    assert (form["source"], form["location"]) == ("folder", "s3://bucket/set.zip")


def it_says_an_error_of_the_lake_in_one_sentence(monkeypatch, capsys, tmp_path):
    """The demo's main job opens the lake in this process; here an address that is none, as far as opening it."""
    from darkroom.storage import open_storage

    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    monkeypatch.setenv("DARKROOM_LAKE", "ftp://nowhere/lake")
    monkeypatch.setattr(sys, "argv", ["infra.local", "status"])
    monkeypatch.setitem(commands.COMMANDS, "status", lambda local: open_storage(local.lake))
    monkeypatch.setattr("infra.local.services.interrupt_as_exit", lambda: None)
    assert commands.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("darkroom: The address 'ftp://nowhere/lake' cannot be opened.")
    assert len(said.splitlines()) == 1
