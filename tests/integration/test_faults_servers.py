"""Servers that die under a write, a read or a commit, and MLflow that is not there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom import champions
from darkroom.errors import MachineryError, StorageUnavailable
from darkroom.storage import S3Storage, Storage
from darkroom.tables import Table
from tests.crash.writes import WRITES
from tests.integration.faults import Gateway, gateway, mlflow_server, settings_of
from tests.integration.servers import free_port, make_bucket
from tests.packages import bright_or_dark, write_dataset
from tests.suites.rows import PARTITION, SPEC, rows
from training import flow, receipts, registry, tracking
from training.config import load_config

pytestmark = [pytest.mark.integration, pytest.mark.faults]

MOMENTS, AWAY_SECONDS = 3, 1.2
MLFLOW_SECONDS = 60
CONFIG = "logistic_regression"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("mortal")) as server:
        yield server


def fresh(server: Gateway) -> S3Storage:
    return S3Storage(f"s3://{make_bucket(server.options)}/lake", server.options)


def during_outages(server: Gateway, seconds: float, act: Callable[[], object]) -> Iterator[StorageUnavailable | None]:
    """Does ``act``, which takes ``seconds``, with the server killed at several moments of it: its error, or None."""
    noticed = 0
    for number in range(MOMENTS):
        error = None
        with server.outage(seconds * number / MOMENTS, AWAY_SECONDS):
            started = time.monotonic()
            try:
                act()
            except StorageUnavailable as raised:
                error = raised
            noticed += time.monotonic() - started > seconds + AWAY_SECONDS / 2
        yield error
    assert noticed, "the server was never missed"


@pytest.mark.parametrize(
    "name",
    [
        "blob, from a long stream",
        "blob, created",
        "table, created with its first rows",
        "partition, replaced",
        "partition, appended to",
    ],
)
def it_writes_all_or_nothing_when_the_server_dies(mortal: Gateway, name: str) -> None:
    write = WRITES[name]
    lakes = [fresh(mortal) for _ in range(MOMENTS + 1)]
    for lake in lakes:
        write.prepare(lake)
    old, started = write.look(lakes[0]), time.monotonic()
    write.act(lakes[0])
    seconds, expected = time.monotonic() - started, write.look(lakes[0])
    waiting = iter(lakes[1:])
    for lake, error in zip(lakes[1:], during_outages(mortal, seconds, lambda: write.act(next(waiting))), strict=True):
        seen = write.look(lake)
        assert seen in (old, expected)
        assert seen == expected or error is not None
        write.act(lake)
        assert write.look(lake) == expected


def it_reads_all_or_says_so_when_the_server_dies(mortal: Gateway) -> None:
    lake, data = fresh(mortal), os.urandom(48 << 20)
    lake.write("large", data)
    table = Table(lake, SPEC)
    table.commit(PARTITION, rows(2_000), {})

    def read() -> None:
        with lake.open("large") as stream:
            assert stream.read() == data
        assert lake.read("large") == data
        assert table.read().num_rows == 2_000

    started = time.monotonic()
    read()
    for _ in during_outages(mortal, time.monotonic() - started, read):
        read()


def it_says_within_a_minute_that_mlflow_is_not_there(lake: Storage) -> None:
    config = load_config("small_cnn")
    request = write_dataset(lake, "lamps", [config.transform], train=4, other=4)
    key = receipts.training_key("v1", "s1", config, 0)
    task = {"name": "small_cnn", "kind": "small_cnn", "key": key, "model": "lamps", "dataset": "lamps"}
    task |= {"split_id": "s1", "version": "v1", "seed": 0, "experiment_id": "1", "parent_run_id": "p", "links": {}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        calls = [
            (free_port(), lambda: flow.plan(lake, {**request, "configs": ["small_cnn"]})),
            (free_port(), lambda: flow.train(lake, task)),
            (silent.getsockname()[1], lambda: flow.plan(lake, {**request, "configs": ["small_cnn"]})),
        ]
        for port, call in calls:
            address = f"http://127.0.0.1:{port}"
            started = time.monotonic()
            with (
                settings_of(MLFLOW_TRACKING_URI=address),
                pytest.raises(MachineryError, match="Check that it answers, then run the task again") as caught,
            ):
                call()
            assert time.monotonic() - started < MLFLOW_SECONDS
            assert address in caught.value.message
            assert len(caught.value.message.splitlines()) == 1
    assert champions.history(lake, "lamps") == []
    assert list(lake.list("models")) == []


def it_trains_again_after_mlflow_died_between_start_and_log(
    lake: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = load_config(CONFIG).transform
    request = write_dataset(lake, "lamps", [transform], train=8, other=8)
    log_package = registry.log_package

    def fit(on_step: Callable[..., None]) -> tuple[bytes, dict[str, Any]]:
        on_step(1, {"loss": 0.5})
        return bright_or_dark(transform.shape), {"fit_seconds": 0.1}

    with mlflow_server(tmp_path / "mlflow") as server, settings_of(MLFLOW_TRACKING_URI=server.address):
        (task,) = flow.plan(lake, {**request, "configs": [CONFIG]})["configs"]

        monkeypatch.setattr(registry, "log_package", lambda *of: (server.kill(), log_package(*of))[1])
        started = time.monotonic()
        with pytest.raises(MachineryError, match="nothing was promoted") as caught:
            flow.train_task(lake, task, fit)
        assert time.monotonic() - started < MLFLOW_SECONDS
        assert server.address in caught.value.message
        assert receipts.find_training(lake, "lamps", task["key"]) is None
        assert champions.history(lake, "lamps") == []
        monkeypatch.setattr(registry, "log_package", log_package)
        server.start()
        result = flow.train_task(lake, task, fit)
        client = tracking.open_client()
        runs = client.search_runs(
            [task["experiment_id"]], "tags.`darkroom.config` != ''", order_by=["attributes.start_time ASC"]
        )
        assert [run.info.status for run in runs] == ["FAILED", "FINISHED"]
        assert [run.data.tags.get("retry_of") for run in runs] == [None, runs[0].info.run_id]
        assert result["run_id"] == runs[1].info.run_id
        assert client.get_logged_model(result["model_id"]).source_run_id == result["run_id"]
        assert client.search_registered_models() == []
