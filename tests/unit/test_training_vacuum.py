"""MLflow's part of the vacuum, on a real tracking store: only old runs that nothing names are deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from darkroom import champions
from darkroom.settings import get_settings
from darkroom.storage import Storage
from tests.packages import champion_of
from training import tracking
from training.vacuum import main, vacuum_runs

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=90)


@pytest.fixture
def runs(empty_store: Path, tmp_path: Path, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Run ids by name: what ended long ago and recently, who is named and by whom."""
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    monkeypatch.setenv("DARKROOM_LAKE", lake.root)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    client = tracking.open_client()
    experiment = tracking.open_experiment(client, "lamps")
    found: dict[str, str] = {}

    def run(name: str, days: int, parent: str | None = None, ours: bool = True, ended: bool = True) -> None:
        tags = {"darkroom.model": "lamps"} if ours else {}
        tags |= {tracking.PARENT: found[parent]} if parent else {}
        at = int((NOW - timedelta(days=days)).timestamp() * 1000)
        made = client.create_run(experiment, start_time=at, tags=tags, run_name=name)
        found[name] = made.info.run_id
        if ended:
            client.set_terminated(made.info.run_id, end_time=at)

    for parent, days in (("forgotten", 200), ("crowned", 200), ("recent", 10)):
        run(parent, days)
        run(f"{parent} child", days, parent)
        run(f"{parent} fold", days, f"{parent} child")
    run("crowned loser", 200, "crowned")
    run("registered", 200)
    run("somebody else's", 200, ours=False)
    run("still running", 200, ended=False)
    client.create_registered_model("lamps")
    client.create_model_version("lamps", str(tmp_path / "model"), run_id=found["registered"])
    crowned = champion_of(lake) | {"run_id": found["crowned child"], "details": {}}
    champions.append(lake, "lamps", crowned, now=NOW)
    yield found
    get_settings.cache_clear()


def active(runs: dict[str, str]) -> set[str]:
    client = tracking.open_client()
    return {name for name, run_id in runs.items() if client.get_run(run_id).info.lifecycle_stage == "active"}


def it_deletes_old_runs_that_nothing_names(runs: dict[str, str], lake: Storage) -> None:
    gone = {"forgotten", "forgotten child", "forgotten fold", "crowned loser"}
    told = vacuum_runs(lake, BEFORE, dry_run=True)
    assert {name for name, run_id in runs.items() if run_id in told} == gone
    assert active(runs) == set(runs)
    assert vacuum_runs(lake, BEFORE, dry_run=False) == told
    assert active(runs) == set(runs) - gone
    assert told.index(runs["forgotten child"]) < told.index(runs["forgotten"])
    assert vacuum_runs(lake, BEFORE, dry_run=False) == []


def it_runs_as_a_command(runs: dict[str, str], capsys: Any) -> None:
    assert main(["--before", BEFORE.isoformat(), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"would delete run {runs['forgotten']}" in said
    assert "4 runs that ended before 2026-03-03" in said
    assert active(runs) == set(runs)


def it_says_in_one_line_that_mlflow_does_not_answer(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert runs
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    get_settings.cache_clear()
    assert main(["--before", BEFORE.isoformat()]) == 2
    assert "MLflow at http://127.0.0.1:9 did not do what was asked" in capsys.readouterr().err
