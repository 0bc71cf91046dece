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


def run_block(code: str, folder: Path) -> str:
    """What the code prints, run in ``folder`` with the lake at .darkroom/lake below it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
