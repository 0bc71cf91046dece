"""The commands that only look, stop or delete install nothing and need no Java: an environment of any state will do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
NO_SETUP = ["down", "status", "reset", "airflow", "stack-down", "stack-account"]


@pytest.fixture
def clone(tmp_path):
    """The Makefile, with a set-up that would leave a trace and an environment that notes what it is asked to run."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    write(tmp_path / "infra/setup.sh", 'echo "$0 $*" >>installed; exit 1')
    return tmp_path


def write(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def make(clone, target):
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", target], cwd=clone, env=outside, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize("target", NO_SETUP)
def it_installs_nothing_to_look_or_stop(clone, target):
    done = make(clone, target)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make")]
    assert said == ["darkroom: nothing is installed. Install and start: make up"]
    assert not (clone / "installed").exists()


@pytest.mark.parametrize("target", NO_SETUP)
def it_takes_the_environment_as_it_is(clone, target):
    write(clone / ".darkroom/env/bin/python", 'echo "ran $*"')
    (clone / ".darkroom/env/.stamp").write_text("of an older lock file")
    done = make(clone, target)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ran -m infra.")
    assert not (clone / "installed").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["up"], "local"),
        (["demo"], "local"),
        (["demo", "PROFILE=stack"], "stack"),
        (["stack"], "stack"),
        (["lint"], ""),
    ],
)
def it_tells_setup_what_is_to_be_started(clone, arguments, told):
    subprocess.run(["make", *arguments], cwd=clone, capture_output=True, check=False, timeout=30)
    assert (clone / "installed").read_text().split() == ["infra/setup.sh", *told.split()]
