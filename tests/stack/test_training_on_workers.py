"""Training where: spark on a real cluster: a master, two workers without a package of ours, and what is shipped."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.features import FeatureSet
from darkroom.model import load_package
from darkroom.storage import open_storage
from darkroom.transform import ImageTransform
from infra.stack.environment import PORTS, Stack, airflow_environment
from infra.stack.programs import programs_of
from infra.stack.setup import write_configuration
from tests.integration.servers import free_port, running
from tests.packages import write_dataset, write_features

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parents[2]
TRANSFORM = "transform: {width: 16, height: 16}\nwhere: spark\n"
FEATURES = [{"kind": "hog", "cell": 8}, {"kind": "pixels", "side": 4}]
CONFIGS = {
    "together": "kind: small_cnn\nmodel: {filters: [8, 16], first_stride: 1}\nepochs: 2\nbatch_size: 16\nworkers: 2\n",
    "trials": f"kind: svm\nfeatures: {json.dumps(FEATURES)}\n"
    "search: {trials: 2, parallel: 2, space: {cost: {choices: [[1], [10]]}}}\n",
    "folds": f"kind: svm\nevaluate: kfold\nfolds: 2\nfeatures: {json.dumps(FEATURES)}\n",
}
DRIVER = """
import json, sys
from pathlib import Path
from darkroom.model import load_package
from darkroom.storage import open_lake
from training import config, flow
folder = Path(sys.argv[1])
config.CONFIG_FOLDER = folder / "configs"
plan = flow.plan(open_lake(), {"dataset": "lamps", "version": "v1", "split_id": "s1", "configs": sys.argv[2:]})
results = {task["name"]: flow.train(open_lake(), task) for task in plan["configs"]}
(folder / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A master and two workers of one core each, as the stack starts them."""
    home = tmp_path_factory.mktemp("cluster")
    ports = {name: free_port() for name in PORTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        stack = Stack(home, free_port(), free_port(), str(home / "lake"), ports, "spark-training")
        write_configuration(stack)
        moved = dataclasses.replace(stack, ports=ports | {"spark_worker": free_port(), "spark_worker_ui": free_port()})
        programs = [
            (one, of)
            for of, names in ((stack, {"spark-master", "spark-worker"}), (moved, {"spark-worker"}))
            for one in programs_of(of)
            if one.name in names
        ]
        with ExitStack() as ends, (home / "log").open("wb") as log:
            for program, of in programs:
                command = ["1" if before == "--cores" else part for before, part in pairs(program.command)]
                ends.enter_context(running(["env", "-i", *as_words(program.environment(of)), *command], {}, log))
            wait_for_workers(stack, home / "log")
            yield stack


def pairs(command: list[str]) -> list[tuple[str, str]]:
    return list(zip(["", *command], command, strict=False))


def as_words(environment: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def wait_for_workers(stack: Stack, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if log.read_text(errors="replace").count("Registering worker") == 2:
            return
        time.sleep(0.5)  # between two looks at the log
    pytest.fail(f"two workers were not there after 90 s: {log.read_text(errors='replace')[-2000:]}")


def it_fits_networks_folds_and_trials_in_workers_that_had_nothing(cluster: Stack, tmp_path: Path) -> None:
    lake = open_storage(str(tmp_path / "lake"))
    transform = ImageTransform(width=16, height=16)
    write_dataset(lake, "lamps", [transform])
    write_features(lake, "lamps", transform, FeatureSet.model_validate(FEATURES))
    (tmp_path / "configs").mkdir()
    for name, text in CONFIGS.items():
        (tmp_path / "configs" / f"{name}.yaml").write_text(TRANSFORM + text)
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = airflow_environment(cluster) | {
        "DARKROOM_LAKE": str(tmp_path / "lake"),
        "DARKROOM_MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master"]
    command += [f"spark://127.0.0.1:{cluster.ports['spark']}", str(tmp_path / "driver.py"), str(tmp_path), *CONFIGS]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    results: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    assert results["folds"]["val"]["balanced_accuracy"] > 0.75  # by chance 0.5
    assert results["folds"]["kfold"]["folds"] == 2
    assert results["trials"]["search"]["complete"] == 2
    for result in results.values():
        assert load_package(lake, result["package"]).predict(np.zeros((1, *transform.shape), np.uint8)).shape == (1, 2)
    logs = list((cluster.home / "spark" / "work").glob("app-*/*/stderr"))
    said = "\n".join(log.read_text() for log in logs)
    assert {"together model", "folds 1", "folds 2", "folds model"} <= set(re.findall(r"^\[(.+?)\]", said, re.MULTILINE))
    assert {log.parent.name for log in logs} == {"0", "1"}  # both workers
