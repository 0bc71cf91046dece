"""The commands of docs/gate.md show the champions, withdraw one and move MLflow's alias."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from darkroom import champions
from darkroom.settings import get_settings
from darkroom.storage import open_storage
from tests.packages import champion_of
from tests.suites.documents import bash_blocks, run_commands
from training import registry, tracking

pytestmark = pytest.mark.unit


@pytest.fixture
def address(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An MLflow store in SQLite."""
    found = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", found)
    get_settings.cache_clear()
    yield found
    get_settings.cache_clear()


def it_withdraws_a_champion_as_the_page_says(tmp_path: Path, address: str) -> None:
    lake = open_storage(str(tmp_path / ".darkroom" / "lake"))
    client = tracking.open_client()
    client.create_registered_model("phantom")
    for version in ("1", "2"):
        client.create_model_version("phantom", str(tmp_path))
        entry = champion_of(lake, "phantom", seed=int(version)) | {"version": version}
        champions.append(lake, "phantom", entry, now=datetime(2026, 3, int(version), tzinfo=UTC))
    assert registry.repair_alias(lake, "phantom") == "2"
    (code,) = bash_blocks("gate.md")
    said = run_commands(code, tmp_path, DARKROOM_MLFLOW_TRACKING_URI=address)
    assert "version 2, " in said.split("<- champion")[0]
    assert "Entry 1, version 1, is champion of phantom again." in said
    champion = champions.current(lake, "phantom")
    assert champion is not None
    assert champion.version == "1"
    assert str(client.get_model_version_by_alias("phantom", "champion").version) == "1"
