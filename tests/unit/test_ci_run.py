"""What CI runs on a bare machine installs what is missing there, and only that."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
JAVA_17 = "echo 'openjdk version \"17.0.9\" 2023-10-17' >&2"
JAVA_11 = "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2"
JAVA_8 = "echo 'java version \"1.8.0_292\"' >&2"


def installed(tmp_path, **scripts):
    """The packages that .ci/run asks apt-get for where only these programs are; it ends in make test."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sed", "head", "dirname", "cat"):
        (tools / name).symlink_to(shutil.which(name))
    note = f'echo "${{0##*/}} $*" >>{tmp_path}/calls'
    for name, script in {"id": "echo 0", "apt-get": note, "make": note, "go": ":", "initdb": ":", **scripts}.items():
        (tools / name).write_text(f"#!/bin/bash\n{script}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": str(tools)}
    done = subprocess.run(
        [str(tools / "bash"), str(ROOT / ".ci/run")],
        env=environment, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *apt, last = (tmp_path / "calls").read_text().splitlines()
    assert last == "make test"
    return apt[-1].split("--no-install-recommends ")[1].split() if apt else []


@pytest.mark.parametrize(
    ("python", "java", "packages"),
    [
        (":", JAVA_17, []),
        ("exit 1", JAVA_17, ["python3", "python3-venv"]),
        (None, JAVA_17, ["python3", "python3-venv"]),
        (":", JAVA_11, ["openjdk-17-jre-headless"]),
        (":", JAVA_8, ["openjdk-17-jre-headless"]),
        (None, None, ["python3", "python3-venv", "openjdk-17-jre-headless"]),
    ],
)
def it_installs_what_is_missing(tmp_path, python, java, packages):
    scripts = {name: script for name, script in (("python3", python), ("java", java)) if script}
    assert installed(tmp_path, **scripts) == packages
