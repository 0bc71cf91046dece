"""Runs the Python in a page of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: str) -> list[str]:
    """The Python blocks of docs/<page>."""
    return _BLOCK.findall((ROOT / "docs" / page).read_text())


def bash_blocks(page: str) -> list[str]:
    """The shell commands in docs/<page>, a text a block."""
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)


def run_commands(code: str, folder: Path, **environment: str) -> str:
    """What the commands print on both streams, run in ``folder``. Fails when one of them does."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "darkroom"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m darkroom.cli "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    kept |= {"PYTHONPATH": str(ROOT), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", code],
        cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_block(code: str, folder: Path, **settings: str) -> str:
    """What the code prints, run in ``folder`` with the lake at .darkroom/lake below it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    environment |= {"PYTHONPATH": str(ROOT)} | settings
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
