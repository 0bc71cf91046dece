"""make reset deletes what runs have made, by name, and nothing in a folder that is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.__main__ import MADE, reset
from infra.local.environment import ROOT, Local, credentials
from infra.local.services import CannotRun

pytestmark = pytest.mark.unit


def local_at(home):
    return Local(home=home, airflow_port=1, mlflow_port=2, lake=str(home / "lake"))


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def it_removes_what_runs_have_made_and_says_what_is_left(tmp_path, capsys):
    local = local_at(tmp_path / "home")
    credentials(local)
    for name in set(MADE) - {"credentials.json"}:
        (local.home / name).mkdir()
        (local.home / name / "made").touch()
    for name in ("env/bin/python", "thesis/chapter1.tex", "notes.txt"):
        (local.home / name).parent.mkdir(parents=True, exist_ok=True)
        (local.home / name).touch()
    reset(local)
    assert files_below(local.home) == ["env/bin/python", "notes.txt", "thesis/chapter1.tex"]
    said = capsys.readouterr().out
    assert "left env, notes.txt, thesis" in said
    assert all(name in said for name in MADE)
    reset(local)
    assert "removed nothing" in capsys.readouterr().out


def it_follows_no_link_out_of_its_home(tmp_path):
    local = local_at(tmp_path / "home")
    credentials(local)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/image.png").touch()
    (local.home / "lake").symlink_to(tmp_path / "elsewhere")
    reset(local)
    assert files_below(tmp_path) == ["elsewhere/image.png"]
    assert not (local.home / "lake").is_symlink()


@pytest.mark.parametrize("login", [None, "", "[1]", '{"user": "ann"}'])
def it_refuses_a_folder_that_darkroom_did_not_make(tmp_path, login):
    home = tmp_path / "work"
    (home / "logs").mkdir(parents=True)
    (home / "logs/of-something-else.log").touch()
    if login is not None:
        (home / "credentials.json").write_text(login)
    before = files_below(home)
    with pytest.raises(CannotRun, match=r"was not made by Darkroom.*nothing was removed"):
        reset(local_at(home))
    assert files_below(home) == before


def it_refuses_the_users_home_folder_even_when_a_run_was_made_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    local = local_at(tmp_path / "ann")
    credentials(local)
    (local.home / "logs").mkdir()
    (local.home / "logs/hers.log").touch()
    for home in (local.home, tmp_path):
        with pytest.raises(CannotRun, match=r"is or holds .*ann, so nothing was removed"):
            reset(local_at(home))
    assert files_below(local.home) == ["credentials.json", "logs/hers.log"]


@pytest.mark.parametrize("home", [ROOT, ROOT.parent, Path("/")])
def it_refuses_the_checkout_and_the_folders_above_it(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("infra.local.__main__._remove", lambda path: pytest.fail(f"would have removed {path}"))
    with pytest.raises(CannotRun, match="is or holds"):
        reset(local_at(home))


def it_has_nothing_to_do_where_there_is_no_home(tmp_path, capsys):
    reset(local_at(tmp_path / "none"))
    assert "removed nothing" in capsys.readouterr().out


def it_removes_a_home_that_only_the_stack_has_used(tmp_path):
    local = local_at(tmp_path / "home")
    credentials(local_at(local.home / "stack"))
    reset(local)
    assert files_below(local.home) == []
