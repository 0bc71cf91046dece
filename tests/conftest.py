"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.groups import GROUPS, GroupScheduling, end_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from darkroom.storage import Storage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups first."""
    items.sort(key=lambda item: end_of(item.path.as_posix()) not in GROUPS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Shares out groups where ``--dist loadscope`` is asked for."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def laptop_spark() -> Iterator[None]:
    """Spark's configuration as Airflow has it on a laptop: Java's quick compiler alone, few partitions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(Path(__file__).parents[1] / "infra" / "local" / "spark"))
        yield


@pytest.fixture(scope="session")
def spark(laptop_spark: None) -> Iterator[SparkSession]:
    """One Spark session on two cores for the whole run."""
    from spark_apps.session import spark_session

    with spark_session("darkroom-tests", master="local[2]") as session:
        yield session


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without a run, to be copied: making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def lake(tmp_path: Path) -> Storage:
    """An empty lake in a folder."""
    from darkroom.storage import open_storage

    return open_storage(str(tmp_path / "lake"))
