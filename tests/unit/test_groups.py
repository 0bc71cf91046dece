"""What two processes share out: groups of files that exist, each in one process and before what is not grouped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.groups import GROUPS

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]


def it_names_files_that_exist() -> None:
    assert set(GROUPS) <= {path.relative_to(TESTS).as_posix() for path in TESTS.glob("*/test_*.py")}


def it_keeps_files_whole_and_groups_together(tmp_path: Path) -> None:
    names = ("test_a.py", "test_b.py", "test_spark_features.py", "test_training_mllib.py")
    folder = tmp_path / "unit"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("def test_one(): ...\ndef test_two(): ...\ndef test_three(): ...\n")
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder"]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\].* PASSED (?:.*/)?(test_\w+\.py)::", done.stdout)
    assert len(ran) == 12
    where = {name: {worker for worker, file in ran if file == name} for name in names}
    assert all(len(workers) == 1 for workers in where.values()), where
    assert where["test_spark_features.py"] == where["test_training_mllib.py"]
