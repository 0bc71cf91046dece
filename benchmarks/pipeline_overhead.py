"""What orchestration costs: the main job through Airflow, beside the same functions called in one warm process.

Both run on this machine, one after the other, each on its own lake in a temporary folder. Session starts and imports
are listed apart, on both sides: those of the warm process as they happen; those of Airflow's tasks, each of which is
a process, by starting the same things alone in fresh processes. Some tasks run side by side, so that their starts add
up to more than they take of the wall. ``--images`` sets the number of phantoms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]


def through_airflow(home: Path, images: int) -> tuple[float, dict[str, float]]:
    """Seconds from the first task's start to the last one's end, and seconds of each task."""
    from infra.local.client import AirflowClient
    from infra.local.environment import local_from_environment

    environment = {**os.environ, "DARKROOM_HOME": str(home), "AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15500"}
    os.environ.update({name: environment[name] for name in ("DARKROOM_HOME", "AIRFLOW_PORT", "MLFLOW_PORT")})
    command = [sys.executable, "-m", "infra.local"]
    demo = {**environment, "PARAMS": json.dumps({"images": images})}
    try:
        subprocess.run([*command, "demo"], cwd=ROOT, env=demo, check=True, stdout=sys.stderr)
        client = AirflowClient(local_from_environment())
        seconds, moments = {}, []
        for dag in ("prepare_dataset", "train_model", "batch_inference"):
            for run in client.runs(dag):
                if dag == "batch_inference" and run["partition_key"] not in DATES:
                    continue
                for task in client.tasks(dag, run["dag_run_id"]):
                    if task["state"] == "success":
                        name = f"{task['task_id']} {run['partition_key'] or ''}".strip()
                        seconds[name] = seconds.get(name, 0.0) + task["duration"]
                        moments += [task["start_date"], task["end_date"]]
        first, last = (datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in (min(moments), max(moments)))
        return (last - first).total_seconds(), seconds
    finally:
        subprocess.run([*command, "down"], cwd=ROOT, env=environment, check=True, stdout=sys.stderr)


class Clock:
    """Adds up named spans."""

    def __init__(self) -> None:
        self.spans: dict[str, float] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.spans[name] = self.spans.get(name, 0.0) + time.monotonic() - started

    def run(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        with self.span(name):
            return call(*arguments)


def in_one_process(home: Path, images: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each step and, apart, of imports and Spark session starts."""
    home.mkdir(parents=True)
    os.environ.update(DARKROOM_HOME=str(home), DARKROOM_LAKE=str(home / "lake"), PYSPARK_PYTHON=sys.executable)
    os.environ["DARKROOM_MLFLOW_TRACKING_URI"] = f"sqlite:///{home / 'mlflow.db'}"
    os.environ["SPARK_CONF_DIR"] = str(ROOT / "infra/local/spark")
    os.chdir(home)  # MLflow's local artifacts go below the working folder
    apart, work = Clock(), Clock()
    with apart.span("imports"):
        import great_expectations  # noqa: F401
        import mlflow  # noqa: F401
        import tensorflow  # noqa: F401

        from darkroom.inbox import fill_inbox
        from darkroom.inference import feeds_of_date
        from darkroom.prepare_request import PrepareRequest
        from darkroom.sources import fetch, parse_source
        from darkroom.splitting_flow import split_dataset
        from darkroom.storage import open_lake
        from spark_apps import session as sessions
        from spark_apps.jobs import manifest, predict, preprocess, validate
        from training import flow
        from training.config import load_config
        from training.jobs import train as train_job
    with apart.span("Spark session"):
        stack = ExitStack()
        stack.enter_context(sessions.spark_session("warm")).range(10).count()
    lake = open_lake()
    form = PrepareRequest(images=images)
    raw = work.run("download", lambda: fetch(parse_source(form.source_config()), "phantom", lake))
    request = {"dataset": "phantom", "raw_index": raw.index_path, "layout": form.layout()}
    version = work.run("manifest", manifest.make, request)["version"]
    options = {"dataset": "phantom", "version": version, "options": form.split_options()}
    split_id = work.run("split", split_dataset, lake, options)["split_id"]
    chosen = {"dataset": "phantom", "version": version, "split_id": split_id}
    from darkroom.eda import eda_dataset

    work.run("eda", eda_dataset, lake, {**chosen, "split_id": None})
    work.run("validate", validate.validate, chosen)
    work.run("split_eda", eda_dataset, lake, chosen)
    transforms = [load_config(name).transform.model_dump(mode="json") for name in form.configs]
    work.run("preprocess", preprocess.make, {**chosen, "transforms": transforms})
    plan = work.run("plan", flow.plan, lake, {**chosen, "configs": form.configs})
    tasks = {task["name"]: task for task in plan["configs"]}
    results = [
        work.run("train", flow.train, lake, tasks["small_cnn"]),
        work.run("train_spark", train_job.train, tasks["logistic_regression"]),
    ]
    evaluation = work.run("evaluate", flow.evaluate, lake, {"plan": plan, "results": results})
    verdict = work.run("gate", flow.decide, lake, evaluation)
    work.run("promote", flow.promote, lake, verdict)
    work.run("close_runs", flow.close_runs, plan["parent_run_id"])
    fill_inbox(lake, **chosen, feed="phantom", dates=DATES, per_date=40, seed=0)
    for dt in DATES:
        (feed,) = work.run(f"find_feeds {dt}", feeds_of_date, lake, {}, dt, datetime(2026, 1, 5, tzinfo=UTC))
        work.run(f"predict {dt}", predict.classify, feed)
    stack.close()
    return work.spans, apart.spans


# What the tasks of one demo start: eight Spark jobs, and the libraries that tasks import.
SPARK_JOB = """
from spark_apps.session import spark_session
from spark_apps.predict import _classifier
with spark_session("start") as spark:
    spark.range(2).repartition(2).mapInArrow(lambda batches: batches, "id long").count()
"""
STARTS = {
    "Spark job": (SPARK_JOB, 8),
    "Great Expectations": ("import great_expectations", 1),
    "MLflow": ("import mlflow", 7),
    "TensorFlow": ("import tensorflow", 1),
}


def starts_of_tasks(home: Path) -> dict[str, float]:
    """Seconds that the sessions and imports of Airflow's tasks take, each start measured alone in a fresh process."""
    seconds = {}
    for name, (code, times) in STARTS.items():
        script = home / "start.py"
        script.write_text(code)
        command = ["spark-submit", "--master", "local[2]"] if name == "Spark job" else [sys.executable]
        conf = {"SPARK_CONF_DIR": str(ROOT / "infra/local/spark"), "PYSPARK_PYTHON": sys.executable}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        began = time.monotonic()
        subprocess.run(
            [*command, str(script)], env={**os.environ, **conf, "PATH": path}, check=True, capture_output=True
        )
        seconds[f"{times} x {name}"] = times * (time.monotonic() - began)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        wall, tasks = through_airflow(Path(folder) / "airflow", images)
        starts = starts_of_tasks(Path(folder))
        bare, apart = in_one_process(Path(folder) / "bare", images)
    print(f"\n{'step':<24}{'Airflow, s':>12}{'one process, s':>16}")
    for name in [*tasks, *(name for name in bare if name not in tasks)]:
        print(f"{name:<24}{tasks.get(name, 0):>12.1f}{bare.get(name, 0):>16.1f}")
    total = sum(bare.values())
    print(f"{'wall':<24}{wall:>12.1f}{total:>16.1f}")
    for whose, spans in (("Airflow's tasks", starts), ("the one process", apart)):
        print(f"apart, of {whose}: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in spans.items())}")
    ratio, stepwise = wall / total, wall / (total + sum(starts.values()))
    print(f"Airflow's wall is {ratio:.2f} times the bare work on {images} phantoms,")
    print(f"and {stepwise:.2f} times the bare work and the starts of a process a step, one after the other.")
    figures = {
        "images": images,
        "airflow_wall_s": wall,
        "bare_s": total,
        "ratio": ratio,
        "ratio_to_processes": stepwise,
    }
    print(
        json.dumps({name: round(value, 3) for name, value in figures.items()} | {"starts_s": starts, "apart_s": apart})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
