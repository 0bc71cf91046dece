"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from darkroom.storage import Storage


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One Spark session on two cores for the whole run."""
    from spark_apps.session import spark_session

    with spark_session("darkroom-tests", master="local[2]") as session:
        yield session


@pytest.fixture
def lake(tmp_path: Path) -> Storage:
    """An empty lake in a folder."""
    from darkroom.storage import open_storage

    return open_storage(str(tmp_path / "lake"))
