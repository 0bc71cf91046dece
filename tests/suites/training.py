"""A small world to train in: a dataset, an MLflow store in SQLite, configs, and a kind that fits in milliseconds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from tests import kinds as test_kinds
from tests.packages import TRANSFORM, write_dataset
from training import config, flow, kinds

TRANSFORM_YAML = "transform: {width: 16, height: 16}\n"


class World:
    """Where a test trains."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake: Storage = open_storage(str(folder / "lake"))
        self.request = write_dataset(self.lake, "lamps", [TRANSFORM])

    def config(self, name: str, text: str) -> None:
        """Writes a config; its kind is by_mean unless it says otherwise."""
        kind = "" if "kind:" in text else "kind: by_mean\n"
        (self.folder / "configs" / f"{name}.yaml").write_text(f"{kind}{TRANSFORM_YAML}{text}")

    def plan(self, *configs: str, **changes: Any) -> dict[str, Any]:
        return flow.plan(self.lake, {**self.request, "configs": list(configs), **changes})

    def train(self, name: str, **changes: Any) -> dict[str, Any]:
        """Plans and trains one config."""
        (task,) = self.plan(name, **changes)["configs"]
        return flow.train(self.lake, task)


@pytest.fixture
def world(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, *test_kinds.__path__])
    monkeypatch.setattr(config, "CONFIG_FOLDER", tmp_path / "configs")
    get_settings.cache_clear()
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "configs").mkdir()
    test_kinds.FITTED.clear()
    yield World(tmp_path)
    get_settings.cache_clear()
