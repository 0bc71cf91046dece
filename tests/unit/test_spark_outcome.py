"""A job's outcome reaches its caller with its numbers, or with the class of its error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.errors import DarkroomError, DataError, InvalidRequest, MachineryError, StorageUnavailable
from darkroom.outcome import MARK, as_darkroom_error, read_outcome, run_job
from darkroom.settings import get_settings
from spark_apps.session import session_conf

pytestmark = pytest.mark.unit


def run(request: str, outcome: Path | str, work: Any) -> int:
    return run_job(["--request", request, "--outcome", str(outcome)], work)


def refuse(_: dict[str, Any]) -> dict[str, Any]:
    raise DataError("Three images are broken. Mend them.", page="reports/broken.html")


def stumble(_: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("a bug")


def it_leaves_the_result_and_prints_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run('{"n": 2}', tmp_path / "new" / "folder", lambda request: {"twice": request["n"] * 2}) == 0
    assert json.loads((tmp_path / "new/folder/result.json").read_text()) == {"twice": 4}
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(MARK)]
    assert [read_outcome(line) for line in lines] == [{"twice": 4}]


def it_leaves_an_error_with_its_class(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("{}", tmp_path, refuse) == 1
    told = json.loads((tmp_path / "error.json").read_text())
    assert told == {
        "error": "DataError",
        "message": "Three images are broken. Mend them.",
        "page": "reports/broken.html",
    }
    out = capfd.readouterr().out
    with pytest.raises(DataError, match="Mend them") as caught:
        [read_outcome(line) for line in out.splitlines()]
    assert caught.value.page == "reports/broken.html"
    assert out.splitlines()[-1] == "Three images are broken. Mend them."


def it_makes_a_machinery_error_of_what_nobody_expected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("{}", tmp_path, stumble) == 1
    assert json.loads((tmp_path / "error.json").read_text())["error"] == "MachineryError"
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes"])
def it_leaves_an_error_where_the_result_is_no_json(
    value: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("{}", tmp_path, lambda _: {"score": value}) == 1
    assert not (tmp_path / "result.json").exists()
    told = json.loads((tmp_path / "error.json").read_text())
    assert told["error"] == "MachineryError"
    assert told["message"].startswith("The job's result cannot be kept as JSON")
    with pytest.raises(MachineryError, match="finite numbers"):
        [read_outcome(line) for line in capfd.readouterr().out.splitlines()]


@pytest.mark.parametrize("request_text", ["", "{", "[1]", "null", '"text"'])
def it_refuses_a_request_that_is_no_json_object(request_text: str, tmp_path: Path) -> None:
    assert run(request_text, tmp_path, lambda request: request) == 1
    assert json.loads((tmp_path / "error.json").read_text())["error"] == "InvalidRequest"


def it_tells_of_wrong_arguments_through_the_marked_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_job(["--reqest", "{}"], lambda request: request) == 1
    with pytest.raises(InvalidRequest, match="arguments"):
        [read_outcome(line) for line in capfd.readouterr().out.splitlines()]


def it_leaves_the_outcome_in_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_LAKE", str(tmp_path / "lake"))
    get_settings.cache_clear()
    try:
        assert run("{}", "reports/attempts/1", lambda _: {"done": True}) == 0
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert json.loads((tmp_path / "lake/reports/attempts/1/result.json").read_text()) == {"done": True}


def it_prints_the_outcome_even_where_it_cannot_be_left(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    assert run("{}", tmp_path / "taken", lambda _: {"done": True}) == 0
    assert f'{MARK} {{"content": {{"done": true}}, "file": "result.json"}}' in capfd.readouterr().out


def it_finds_our_error_behind_a_workers_traceback() -> None:
    text = (
        "An exception was thrown:\nTraceback (most recent call last):\n  File ...\n"
        "darkroom.errors.StorageUnavailable: s3 is away.\n\tat org.apache..."
    )
    found = as_darkroom_error(RuntimeError(text))
    assert isinstance(found, StorageUnavailable)
    assert found.message == "s3 is away."
    assert isinstance(as_darkroom_error(RuntimeError("no such text")), MachineryError)


def it_tells_of_an_error_whose_message_is_lost() -> None:
    class Lost(Exception):  # as py4j's, which asks a JVM that may have ended
        def __str__(self) -> str:
            raise ConnectionRefusedError

    found = as_darkroom_error(Lost())
    assert isinstance(found, MachineryError)
    assert "Lost: its message is lost" in found.message


@pytest.mark.parametrize("kind", [DataError, StorageUnavailable])
def it_keeps_our_own_errors(kind: type[DarkroomError]) -> None:
    error = kind("told")
    assert as_darkroom_error(error) is error


def it_configures_sessions_for_images_and_hashes() -> None:
    local = session_conf(local=True, submitted=False)
    assert 32 <= int(local["spark.sql.execution.arrow.maxRecordsPerBatch"]) <= 64
    assert local["spark.sql.sources.partitionColumnTypeInference.enabled"] == "false"
    assert local["spark.sql.session.timeZone"] == "UTC"
    assert local["spark.ui.enabled"] == "false"
    cluster = session_conf(local=False, submitted=True)
    assert not {"spark.ui.enabled", "spark.driver.host", "spark.executorEnv.PYTHONPATH"} & cluster.keys()


def it_tells_workers_which_models_with_code_of_their_own_may_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not [name for name in session_conf(local=False, submitted=True) if "ALLOWED_MODELS" in name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_ALLOWED_MODELS", "allowed.yaml")
    get_settings.cache_clear()
    conf = session_conf(local=False, submitted=True)
    get_settings.cache_clear()
    assert conf["spark.executorEnv.DARKROOM_ALLOWED_MODELS"] == str(tmp_path / "allowed.yaml")
    assert conf["spark.executorEnv.DARKROOM_PYFUNC_SECONDS"] == "120.0"


def it_gives_training_the_settings_of_every_other_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    from training.classical.mllib import session

    seen: dict[str, str] = {}

    class Stopped(Exception):
        """Raised in place of starting a session."""

    def stop(builder: Any) -> None:
        seen.update(builder._options)
        raise Stopped

    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", stop)
    with pytest.raises(Stopped), session():
        pass
    batch = "spark.sql.execution.arrow.maxRecordsPerBatch"
    assert seen.pop(batch) == "512"
    assert seen.items() >= {k: v for k, v in session_conf(local=True, submitted=False).items() if k != batch}.items()


def it_reaches_an_object_store_from_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_LAKE", "s3://bucket/lake")
    monkeypatch.setenv("DARKROOM_S3_ENDPOINT", "http://127.0.0.1:9000")
    get_settings.cache_clear()
    try:
        conf = session_conf(local=True, submitted=True)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert conf["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:9000"
