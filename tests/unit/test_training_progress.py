"""What fits in Spark tell while they go on: lines for the log and steps, each once, and nothing of it stays."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from darkroom.errors import DarkroomError, DataError, MachineryError
from darkroom.features import FeatureSet
from darkroom.storage import Storage
from tests.packages import TRANSFORM, write_features
from tests.suites import placed as suite
from tests.suites.training import World, world
from training import tracking
from training.config import parse_config
from training.experiments import placement
from training.experiments.nested import Nested
from training.experiments.placement import Cluster, Unit
from training.experiments.progress import Lines, Listener, Said
from training.kinds import Job

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture

ROOT = Path(__file__).resolve().parents[2]
FOLDED_SEARCH = """
where: spark
inverse_regularization: [0.01, 1]
evaluate: kfold
folds: 2
search: {trials: 2, parallel: 2, space: {max_iterations: {low: 100, high: 200}}}
"""
CNN = parse_config({"name": "cnn", "kind": "small_cnn"})


@pytest.fixture(autouse=True)
def ours(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver looks often, and its log shows what a person's does."""
    monkeypatch.setattr(placement, "EVERY", 0.1)
    caplog.set_level(logging.INFO, "training")


class Steps(list[int]):
    """An on_step that notes the numbers, and writes ``file`` at the first."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self.file = file

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        assert values["val_loss"] == 1 / step
        self.append(step)
        if self.file:
            self.file.touch()


def job(lake: Storage, on_step: Any, seed: int = 0) -> Job:
    return Job(lake, "lamps", pa.table({}), CNN, seed, on_step)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def run(spark: Any, units: Iterable[Unit], workers: int = 1) -> list[tuple[Any, Any]]:
    return list(Cluster(spark.sparkContext, workers).run(units))


@pytest.mark.parametrize("workers", [1, 2])
def it_hears_of_epochs_while_the_fit_goes_on(
    spark: Any, lake: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    heard = tmp_path / "heard"  # the fit waits for it, so its first epoch is told before it ends

    def on_step(step: int, values: Mapping[str, float]) -> None:
        steps.append(step)
        assert f"[cnn model] epoch {step} of seed 0" in lines_of(caplog)
        heard.touch()

    steps: list[int] = []
    ended = run(spark, [Unit("model", job(lake, on_step), partial(suite.wait_to_be_heard, heard))], workers)
    assert ended == [("model", "heard")]
    assert steps == [1, 2]
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert told == [
        (logging.INFO, "[cnn model] epoch 1 of seed 0"),
        (logging.INFO, "[cnn model] epoch 2 of seed 0"),
        (logging.WARNING, "[cnn model] a last word"),
    ]
    assert list(lake.list()) == []


def it_tells_fits_side_by_side_apart(
    spark: Any, lake: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    all_steps = {number: Steps(tmp_path / f"{number}") for number in (1, 2, 3)}
    units = [
        Unit(number, job(lake, steps, number), partial(suite.wait_to_be_heard, tmp_path / f"{number}"))
        for number, steps in all_steps.items()
    ]
    for number, _ in Cluster(spark.sparkContext, 1).run(units):
        assert all_steps[number] == [1, 2]  # the last of it before the end
        mine = [line for line in lines_of(caplog) if line.startswith(f"[cnn {number}]")]
        assert mine == [
            f"[cnn {number}] {line}"
            for line in (f"epoch 1 of seed {number}", f"epoch 2 of seed {number}", "a last word")
        ]
    assert list(lake.list()) == []


def it_brings_steps_to_mlflow_while_the_fit_goes_on(spark: Any, world: World, tmp_path: Path) -> None:
    client = tracking.open_client()
    experiment = tracking.open_experiment(client, "lamps")
    nested = Nested(client, experiment, "", {})
    run_id = nested.start("fold", {"darkroom.fold": "1"})

    def on_step(step: int, values: Mapping[str, float]) -> None:
        nested.steps_to(run_id)(step, values)
        (tmp_path / "heard").touch()

    run(spark, [Unit(1, job(world.lake, on_step), partial(suite.wait_to_be_heard, tmp_path / "heard"))])
    points = client.get_metric_history(run_id, "fit/val_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5)]


def it_logs_each_step_of_trials_folds_and_the_model_once(spark: Any, world: World) -> None:
    features = [{"kind": "pixels", "side": 4}]
    write_features(world.lake, "lamps", TRANSFORM, FeatureSet.model_validate(features))
    world.config("linear", f"kind: logistic_regression\nfeatures: {json.dumps(features)}\n{FOLDED_SEARCH}")
    run_id = world.train("linear")["run_id"]
    client = tracking.open_client()
    below = client.search_runs([client.get_run(run_id).info.experiment_id], f"tags.`{tracking.PARENT}` = '{run_id}'")
    assert len(below) == 2 + 2
    for one in [run_id, *(run.info.run_id for run in below)]:
        assert [point.step for point in client.get_metric_history(one, "fit/val_loss")] == [1, 2]
    assert [blob.path for blob in world.lake.list("jobs")] == []


@pytest.mark.parametrize(
    ("work", "error", "said"),
    [
        (suite.tell_and_refuse, DataError, "the third image is not there"),
        (suite.tell_and_break_down, MachineryError, "the disk is gone"),
    ],
)
def it_tells_the_last_of_a_fit_that_fails(
    spark: Any, lake: Storage, caplog: pytest.LogCaptureFixture, work: Any, error: type[DarkroomError], said: str
) -> None:
    steps = Steps()
    with pytest.raises(error, match=said):
        run(spark, [Unit("model", job(lake, steps), work)])
    assert steps == [1, 2]
    assert "[cnn model] epoch 2 of seed 0" in lines_of(caplog)
    assert list(lake.list()) == []


def it_leaves_nothing_of_a_worker_that_died(
    spark: Any, lake: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps(tmp_path / "heard")
    with pytest.raises(MachineryError):
        run(spark, [Unit("model", job(lake, steps), partial(suite.tell_and_die, tmp_path / "heard"))])
    assert steps[:1] == [1]
    assert "[cnn model] epoch 1 of seed 0" in lines_of(caplog)
    assert list(lake.list()) == []


def it_stops_a_trial_that_is_behind_and_tells_of_its_steps(
    spark: Any, lake: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[int] = []
    ((_, result),) = run(spark, [Unit(1, job(lake, lambda step, values: steps.append(step)), suite.fall_behind)])
    assert (result["state"], result["reason"]) == ("pruned", "behind the median of the others after step 3")
    assert [step for step, _ in result["steps"]] == steps == [1, 2, 3]
    assert "[cnn 1] epoch 3" in lines_of(caplog)
    assert [blob.path for blob in lake.list("jobs")] == []  # its receipt stays


@pytest.mark.parametrize(
    ("kind", "said"),
    [(suite.Deaf, "cannot be followed, and it goes on: this lake is deaf"), (suite.Mute, "this lake is mute")],
)
def it_goes_on_where_the_lake_tells_nothing(
    spark: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Any, said: str
) -> None:
    steps = Steps()
    lake = kind(tmp_path / "lake")
    assert run(spark, [Unit("model", job(lake, steps), suite.two_slow_epochs)]) == [("model", "done")]
    assert steps == [1, 2]
    assert sum(said in line for line in lines_of(caplog)) == 1
    assert [line[-17:] for line in lines_of(caplog) if said not in line] == ["epoch 1 of seed 0", "epoch 2 of seed 0"]
    assert list(lake.list()) == []


def it_tells_an_attempt_again_and_each_step_once(tmp_path: Path) -> None:
    """In a process of its own: Spark tries a task again only where its master says so."""
    command = [sys.executable, "-m", "tests.suites.retried", str(tmp_path / "lake"), str(tmp_path / "mark")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert (found["result"], found["steps"]) == ("done", [1, 2, 3])
    assert found["lines"] == [
        "[cnn model] epoch 1 of seed 0",
        "[cnn model] epoch 2 of seed 0",
        "[cnn model] its task was lost or failed: Spark began it again.",
        "[cnn model] epoch 1 of seed 0",
        "[cnn model] epoch 2 of seed 0",
        "[cnn model] epoch 3 of seed 0",
    ]
    assert [path for path in (tmp_path / "lake").rglob("*") if path.is_file()] == []
    assert "epoch" not in done.stderr  # a worker beside the driver does not say it a second time


def attempt(number: int, *epochs: int) -> Said:
    lines = [(logging.INFO, f"epoch {epoch}") for epoch in epochs]
    return Said(attempt=number, lines=lines, steps=[(epoch, {"val_loss": 1 / epoch}) for epoch in epochs])


def written(lake: Storage, listener: Listener, said: Said) -> None:
    lake.write(f"{listener.folder}/{said.attempt:012}.json", said.model_dump_json().encode())


def it_neither_repeats_nor_loses_what_attempts_say_at_once(lake: Storage, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    listener = Listener(job(lake, steps), 3)
    for said in (attempt(9, 1), attempt(9, 1, 2), attempt(10, 1), attempt(9, 1, 2, 3), attempt(10, 1, 2)):
        written(lake, listener, said)
        listener.listen()
        listener.listen()
    listener.hear(attempt(10, 1, 2, 3, 4))
    assert steps == [1, 2, 3, 4]
    said_by_9, again, said_by_10 = ["1", "2", "3"], "began it again", ["1", "2", "3", "4"]
    told = [line.removeprefix("[cnn 3] ").removeprefix("epoch ") for line in lines_of(caplog)]
    assert sorted(line for line in told if again not in line) == sorted(said_by_9 + said_by_10)
    assert sum(again in line for line in told) == 1
    listener.close()
    assert list(lake.list()) == []


def it_logs_once_what_cannot_be_read_and_tries_again(lake: Storage, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    listener = Listener(job(lake, steps), 3)
    lake.write(f"{listener.folder}/000000000009.json", b'{"attempt": 9, "lin')
    listener.listen()
    listener.listen()
    assert steps == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "[cnn 3] its progress cannot be followed" in lines_of(caplog)[0]
    written(lake, listener, attempt(9, 1))
    listener.listen()
    assert steps == [1]


def it_tells_a_step_again_that_mlflow_did_not_take(lake: Storage, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[int] = []

    def on_step(step: int, values: Mapping[str, float]) -> None:
        if step == 2 and len(lines_of(caplog)) < 4:
            raise ConnectionError("MLflow is away")
        steps.append(step)

    listener = Listener(job(lake, on_step), 3)
    written(lake, listener, attempt(9, 1, 2, 3))
    listener.listen()
    assert steps == [1]
    assert "MLflow is away" in lines_of(caplog)[-1]
    listener.listen()
    assert steps == [1, 2, 3]
    assert len(lines_of(caplog)) == 4


def it_raises_in_the_end_what_mlflow_never_took(spark: Any, lake: Storage) -> None:
    def on_step(step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("MLflow is away")

    with pytest.raises(ConnectionError, match="MLflow is away"):
        run(spark, [Unit("model", job(lake, on_step), suite.three_epochs)])
    assert list(lake.list()) == []


def it_keeps_lines_that_are_no_unicode() -> None:
    said = Said(attempt=0)
    record = logging.makeLogRecord({"levelno": logging.WARNING, "msg": "caf\udce9.jpg is no image"})
    Lines(said).handle(record)
    assert Said.model_validate_json(said.model_dump_json()).lines == [(logging.WARNING, "caf?.jpg is no image")]


def it_keeps_numbers_that_are_not_finite() -> None:
    said = Said(attempt=1)
    said.step(1, {"train_loss": float("inf")})
    assert Said.model_validate_json(said.model_dump_json()) == said
