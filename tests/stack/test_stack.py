"""The stack without Docker: the main job on it equals the local one, what dies comes back, nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.local.services import running as process_of
from infra.stack.environment import airflow_environment
from infra.stack.programs import programs_of
from infra.stack.supervision import processes
from tests.stack.conftest import IMAGES, ROOT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

LOCAL_JOB = """
import sys
from pathlib import Path
from benchmarks.pipeline_overhead import in_one_process
in_one_process(Path(sys.argv[1]), int(sys.argv[2]))
"""
PROBE = """
import sys
from pyspark.sql import SparkSession
def seen(rows):
    import darkroom, pyarrow, pandas
    yield [sys.prefix, darkroom.__file__, pyarrow.__file__, *[path for path in sys.path if "site-packages" in path]]
spark = SparkSession.builder.getOrCreate()
print("SEEN", __import__("json").dumps(spark.sparkContext.parallelize([1], 1).mapPartitions(seen).collect()[0]))
"""


def state_of(running):
    lines = running.command("status").stdout.splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def programs(stack):
    return {program.name: process_of(stack, program) for program in programs_of(stack)}


def it_runs_the_main_job_on_the_cluster_with_the_local_jobs_rows(running, demo, lake_environment, tmp_path):
    assert "champion" in demo.lower()
    # The master numbers its applications from 0; the worker's folders of old ones are cleaned up.
    applications = sorted(path.name for path in (running.stack.home / "spark" / "work").glob("app-*"))
    assert int(applications[-1].rpartition("-")[2]) >= 5  # manifest, validate, preprocess, training, two or more dates
    kept = {name: value for name, value in running.environment.items() if not name.startswith("DARKROOM_")}
    kept |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    local = [sys.executable, "-c", LOCAL_JOB, str(tmp_path / "local"), str(IMAGES)]
    done = subprocess.run(local, cwd=ROOT, env=kept, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lakes = [running.stack.lake, str(tmp_path / "local" / "lake"), "phantom"]
    compare = [sys.executable, "-m", "infra.stack.compare", *lakes]
    equal = subprocess.run(compare, cwd=ROOT, env=lake_environment, capture_output=True, text=True, check=False)
    assert equal.returncode == 0, equal.stderr
    counts = dict(zip(["manifest", "split", "examples", "predictions"], _numbers(equal.stdout), strict=True))
    print(equal.stdout)
    assert counts["manifest"] >= IMAGES
    assert min(counts.values()) >= 50  # predictions: three dates of an inbox that a split of so few images fills


def _numbers(text):
    return [int(word.replace(",", "")) for word in text.split() if word.replace(",", "").isdigit()]


def submit(running, tmp_path, **left_out):
    """Runs PROBE on the cluster with the driver's settings, without those named."""
    given = (running.stack.home / "spark" / "driver" / "spark-defaults.conf").read_text().splitlines()
    kept = [line for line in given if not any(line.startswith(name) for name in left_out.values())]
    (tmp_path / "spark-defaults.conf").write_text("\n".join(kept) + "\n")
    (tmp_path / "probe.py").write_text(PROBE)
    environment = {**airflow_environment(running.stack), "SPARK_CONF_DIR": str(tmp_path)}
    if left_out:
        environment["PYSPARK_PYTHON"] = os.path.realpath(sys.executable)  # the machine's own, bare Python
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master"]
    command += [f"spark://127.0.0.1:{running.stack.ports['spark']}", str(tmp_path / "probe.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def it_gives_workers_what_is_shipped_and_nothing_else(running, tmp_path):
    done = submit(running, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = next(line for line in done.stdout.splitlines() if line.startswith("SEEN"))
    spark = running.stack.home / "spark"
    ours = [path for path in json.loads(told.removeprefix("SEEN ")) if "/pyspark/" not in path]
    assert len(ours) >= 4
    shipped = (spark / "work", spark / "environments")
    assert [path for path in ours if not any(Path(path).is_relative_to(folder) for folder in shipped)] == []


def it_fails_on_a_bare_worker_when_nothing_is_shipped(running, tmp_path):
    done = submit(
        running,
        tmp_path,
        files="spark.files",
        archives="spark.archives",
        python="spark.pyspark.python",
        path="spark.executorEnv",
    )
    assert done.returncode != 0
    assert "ModuleNotFoundError: No module named 'darkroom'" in done.stdout + done.stderr


def it_shows_every_program_up_and_changes_nothing_the_second_time(running):
    before = {name: (one.pid, one.create_time()) for name, one in programs(running.stack).items()}
    assert set(state_of(running).values()) == {"up"}
    again = running.command("up")
    assert again.returncode == 0, again.stderr
    assert {name: (one.pid, one.create_time()) for name, one in programs(running.stack).items()} == before


@pytest.mark.faults
def it_brings_back_every_program_that_is_killed(running):
    killed = programs(running.stack)
    for process in killed.values():
        process.kill()
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        states = state_of(running)
        if set(states.values()) == {"up"}:
            break
        time.sleep(2)  # between two looks at the stack
    assert set(states.values()) == {"up"}, states
    now = programs(running.stack)
    assert all(now[name].pid != process.pid for name, process in killed.items())


def it_refuses_other_ports_while_it_is_up(running):
    done = running.command("up", S3_PORT="1")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "other values of S3_PORT" in done.stderr
    assert "make stack-down" in done.stderr


@pytest.mark.faults
def it_takes_over_after_its_supervisor_was_killed_and_leaves_nothing_running(running):
    stack = running.stack
    supervisor = psutil.Process(int((stack.home / "run" / "supervisor.pid").read_text().split()[0]))
    supervisor.kill()
    psutil.wait_procs([supervisor], timeout=10)
    everything = [one for process in processes(stack) for one in [process, *process.children(recursive=True)]]
    assert len(everything) >= 9
    down = running.command("down")
    assert down.returncode == 0, down.stderr
    assert [one for one in everything if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    left = [
        one.info for one in psutil.process_iter(["cmdline"]) if str(stack.home) in " ".join(one.info["cmdline"] or [])
    ]
    assert left == []
    assert set(state_of(running).values()) == {"down"}
    up = running.command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert set(state_of(running).values()) == {"up"}
