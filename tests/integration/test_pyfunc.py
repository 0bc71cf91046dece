"""A model of one's own, from its digest to a date's predictions: one real environment, shared by all tests."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom import champions
from darkroom.cli import main
from darkroom.contract import predictions_table
from darkroom.errors import MachineryError, ModelError
from darkroom.inference import feeds_of_date
from darkroom.model import Model, load_package
from darkroom.pyfunc.environment import environment_python
from darkroom.pyfunc.folder import Described
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from spark_apps.arrivals import PredictRequest
from spark_apps.predict import worker_model
from tests.packages import TRANSFORM, png, write_dataset
from tests.pyfuncs import PYTHON, bright, saved
from tests.suites.doors import check_doors
from training import config, flow
from training.deciding.scoring import challenger_scores, champion_scores

pytestmark = pytest.mark.integration

DAY = "2026-01-02"
URI = "models:/lights/1"


@pytest.fixture(scope="module")
def world(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A lake, an MLflow store with the model, the list that allows it, and one complete training."""
    folder = tmp_path_factory.mktemp("pyfunc")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    settings = {
        "LAKE": folder / "lake",
        "HOME": folder / "home",
        "MLFLOW_TRACKING_URI": f"sqlite:///{shutil.copy(empty_store, folder)}",
        "ALLOWED_MODELS": folder / "allowed.yaml",
        "S3_SECRET_KEY": "must not reach the model",
    }
    for name, value in settings.items():
        patch.setenv(f"DARKROOM_{name}", str(value))
    get_settings.cache_clear()
    saved(folder)
    lake = open_storage(str(folder / "lake"))
    request = write_dataset(lake, "lamps", [TRANSFORM])
    (folder / "configs").mkdir()
    patch.setattr(config, "CONFIG_FOLDER", folder / "configs")
    yield {"lake": lake, "folder": folder, "request": request}
    patch.undo()
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def trained(world: dict[str, Any]) -> dict[str, Any]:
    """What a user does: ask for the digest, paste the entry, write a config, train. The package becomes champion."""
    folder, lake = world["folder"], world["lake"]
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(["model", "digest", URI]) == 0
    told = printed.getvalue()
    entry = told[told.index("- uri:") :]
    digest = entry.split("digest: ")[1].split()[0].strip("'")
    (folder / "allowed.yaml").write_text(entry)
    (folder / "configs" / "mine.yaml").write_text(
        f"kind: pyfunc\ntransform: {{width: 16, height: 16}}\nuri: {URI}\nmodel_digest: '{digest}'\n"
        "classes: [DARK, BRIGHT]\n"
    )
    plan = flow.plan(lake, {**world["request"], "configs": ["mine"]})
    result = flow.train(lake, plan["configs"][0])
    evaluation = flow.evaluate(lake, {"plan": plan, "results": [result]})
    verdict = flow.decide(lake, evaluation)
    flow.promote(lake, verdict)
    flow.close_runs(plan["parent_run_id"])
    return {"result": result, "evaluation": evaluation, "verdict": verdict, "digest": digest, "entry": entry}


@pytest.fixture(scope="module")
def model(world: dict[str, Any], trained: dict[str, Any]) -> Model:
    return load_package(world["lake"], trained["result"]["package"])


def running() -> set[int]:
    """The processes that run a model."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"darkroom-pyfunc-" in words:
            found.add(int(path.parent.name))
    return found


def it_is_trained_gated_and_promoted_like_any_other(world: dict[str, Any], trained: dict[str, Any]) -> None:
    verdict = trained["verdict"]
    assert verdict["verdict"] == "promote", verdict["reasons"]
    assert trained["evaluation"]["test"]["mine"]["balanced_accuracy"] > 0.95
    champion = champions.current(world["lake"], "lamps")
    assert champion is not None
    assert champion.package == trained["result"]["package"]
    card = world["lake"].read(f"{verdict['page'].rpartition('/')[0]}/card/card.md").decode()
    assert URI in card
    assert trained["digest"] in card
    assert "It learned elsewhere" in card


def it_predicts_the_same_from_every_door(world: dict[str, Any], trained: dict[str, Any], model: Model) -> None:
    lake: Storage = world["lake"]
    images = {f"{number}.png": png(60 + 4 * number, number) for number in range(40)}
    pixels = np.stack([model.transform.apply(data) for data in images.values()])
    result = trained["result"]
    expected = check_doors(lake, result["package"], result["model_id"], list(images.values()), atol=1e-6)
    raw = bright(pixels)
    np.testing.assert_array_equal(expected.argmax(axis=1), np.where(raw > 0.5, 0, 1))
    if model.info.temperature == 1:
        np.testing.assert_allclose(expected[:, 0], raw, atol=1e-6)

    for name, data in {**images, "_SUCCESS": b""}.items():
        lake.write(f"inbox/lamps/dt={DAY}/{name}", data)
    (asked,) = feeds_of_date(lake, {}, DAY, datetime(2026, 1, 3, tzinfo=UTC))
    before = running()
    job = [sys.executable, "-m", "spark_apps.jobs.predict", "--request", json.dumps(asked)]
    done = subprocess.run(
        [*job, "--outcome", str(world["folder"] / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = Table(lake, predictions_table("lamps")).read().to_pylist()
    said = {row["path"]: row["probabilities"] for row in rows}
    np.testing.assert_allclose([said[name] for name in images], expected, atol=1e-6)
    assert wait_until(lambda: running() <= before)  # the workers' processes went with the workers


def wait_until(holds: Any, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)  # between two looks
    return True


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (1, r"answers \[.*nan.*Expected float32\[3, 2\], finite"),
        (3, "ended before it could answer; its exit code is -9. It printed last: .*and one of a child"),
        (4, r"ended before it could answer; its exit code is 1.*RuntimeError: lost in the dark: \[\]"),
    ],
)
def it_says_what_went_wrong_and_answers_the_next_batch(model: Model, order: int, told: str) -> None:
    pixels = np.full((3, *TRANSFORM.shape), 200, np.uint8)
    expected = model.predict(pixels)
    pixels[0, 0, 0, 0] = order
    with pytest.raises(ModelError, match=told) as raised:
        model.predict(pixels)
    assert "\n" not in raised.value.message  # a Spark worker's error is read from one line
    if order == 4:
        np.testing.assert_allclose(model.predict(np.full_like(pixels, 200)), expected)


def it_ends_a_model_that_takes_too_long(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.full((1, *TRANSFORM.shape), 200, np.uint8)
    model.predict(pixels)  # it runs
    child: Any = vars(model)["_engine"]._child
    mine = child._process.pid
    assert mine in running()
    monkeypatch.setattr(child, "_seconds", 1.0)
    pixels[0, 0, 0, 0] = 2
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"did not answer within 1 s \(DARKROOM_PYFUNC_SECONDS\)"):
        model.predict(pixels)
    assert time.monotonic() - started < 10
    assert mine not in running()


PARENT = """
import sys, time
import numpy as np
from darkroom.model import load_package
from darkroom.storage import open_storage
model = load_package(open_storage(sys.argv[1]), sys.argv[2])
print(model._engine._child._process.pid, model._engine._child._process.args[-1], flush=True)
pixels = np.full((1, 16, 16, 1), 200, np.uint8)
pixels[0, 0, 0, 0] = 2
model.predict(pixels)
"""


def it_ends_with_a_parent_that_is_killed_within_a_batch(world: dict[str, Any], trained: dict[str, Any]) -> None:
    asked = [sys.executable, "-c", PARENT, world["lake"].root, trained["result"]["package"]]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert int(pid) in running()
        assert Path(folder).is_dir()
        time.sleep(0.5)  # it is in the model's long sleep now
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: int(pid) not in running())
    assert wait_until(lambda: not Path(folder).exists())


def it_is_refused_everywhere_once_its_entry_is_gone(world: dict[str, Any], trained: dict[str, Any]) -> None:
    import mlflow

    lake, listed = world["lake"], world["folder"] / "allowed.yaml"
    listed.write_text("[]")
    try:
        with pytest.raises(ModelError, match=f"{URI} runs code of its own and is not allowed here"):
            load_package(lake, trained["result"]["package"])
        (asked,) = feeds_of_date(lake, {}, DAY, datetime(2026, 1, 3, tzinfo=UTC))
        with pytest.raises(ModelError, match="not allowed here"):  # what a worker of batch inference begins with
            worker_model(lake, PredictRequest.model_validate(asked).champion)
        door = f"models:/{trained['result']['model_id']}"
        with pytest.raises(ModelError, match="not allowed here"):
            mlflow.pyfunc.load_model(door)
        champion = champions.current(lake, "lamps")
        assert champion is not None
        plan = trained["evaluation"]["plan"]
        found = champion_scores(lake, plan, champion, challenger_scores(lake, trained["evaluation"]))
        assert found.problem is not None
        assert "not allowed here" in found.problem
    finally:
        listed.write_text(trained["entry"])


def it_builds_an_environment_once_and_none_by_halves(
    world: dict[str, Any], trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = (path for path in (world["folder"] / "home" / "environments").iterdir() if path.is_dir())
    made = kept.stat().st_mtime_ns
    files = {name: (world["folder"] / "saved" / name).read_bytes() for name in ("MLmodel", "requirements.txt")}
    described = Described.of(files)
    assert environment_python(described.requirements, described.python) == kept / "bin" / "python"
    assert kept.stat().st_mtime_ns == made

    monkeypatch.setenv("DARKROOM_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    get_settings.cache_clear()
    left = []
    for _ in range(2):
        told = r"cannot be built on this machine: pip could not.*no-such-package-at-all"
        with pytest.raises(MachineryError, match=told):
            environment_python("no-such-package-at-all==1", described.python)
        lock, partial = sorted(tmp_path.iterdir())  # no environment, and of the attempt before no half of one
        assert (lock.suffix, partial.suffix.partition("-")[0]) == (".lock", ".partial")
        left.append(partial)
    assert left[0] != left[1]
    get_settings.cache_clear()


def it_ends_what_a_build_that_takes_too_long_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, started = tmp_path / "python", tmp_path / "started"
    slow.write_text(f"#!/bin/sh\necho compiling\nsleep 300 &\necho $! > {started}\nwait\n")
    slow.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(slow))
    monkeypatch.setattr("darkroom.pyfunc.environment._BUILD_SECONDS", 1)
    monkeypatch.setenv("DARKROOM_ENVIRONMENTS", str(tmp_path / "environments"))
    get_settings.cache_clear()
    with pytest.raises(MachineryError, match="nothing more within 1 s, after compiling"):
        environment_python("anything==1", PYTHON)
    get_settings.cache_clear()
    compiler = Path(f"/proc/{started.read_text().strip()}/cmdline")
    assert wait_until(lambda: not compiler.exists() or not compiler.read_bytes())  # or a zombie


def it_leaves_no_process_behind(world: dict[str, Any], trained: dict[str, Any]) -> None:
    import gc

    before = running()
    loaded = load_package(world["lake"], trained["result"]["package"])
    (mine,) = running() - before
    del loaded
    gc.collect()
    assert mine not in running()
