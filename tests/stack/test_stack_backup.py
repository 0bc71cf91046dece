"""A cold backup, made by the command of docs/backup.md and restored: logins, runs, experiments, the lake."""

from __future__ import annotations

import shutil
import subprocess

import httpx
import pytest

from darkroom import champions
from infra.local.client import AirflowClient
from infra.local.environment import credentials
from tests.suites.documents import bash_blocks

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.timeout(900)]


def state_of(running, lake):
    stack = running.stack
    login = (credentials(stack)["user"], credentials(stack)["password"])
    found = httpx.get(
        f"{stack.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=20", auth=login, timeout=60
    ).json()
    return {
        "runs": [run["dag_run_id"] for run in AirflowClient(stack).runs("train_model")],
        "experiments": sorted(one["name"] for one in found["experiments"]),
        "champion": champions.current(lake, "phantom"),
        "blobs": sorted((blob.path, blob.size, blob.etag) for blob in lake.list()),
    }


@pytest.mark.usefixtures("demo")
def it_comes_back_from_a_cold_backup(running, lake, tmp_path):
    before = state_of(running, lake)
    assert before["champion"] is not None
    home, archive = running.stack.home, tmp_path / "stack.tar.gz"
    (pack,) = [line for line in bash_blocks("backup.md")[0].splitlines() if line.startswith("tar ")]
    pack = pack.replace("stack.tar.gz", str(archive)).replace(".darkroom/stack", str(home))
    assert running.command("down").returncode == 0
    subprocess.run(["bash", "-euc", pack], check=True, timeout=300)
    shutil.rmtree(home)
    home.mkdir(mode=0o755)
    unpack = ["tar", "--xattrs", "--numeric-owner", "-xzf", str(archive), "-C", str(home)]
    subprocess.run(unpack, check=True, timeout=300)
    up = running.command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert state_of(running, lake) == before
