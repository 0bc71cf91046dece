"""A real set of 60,000 files through the archive source."""

from __future__ import annotations

import io
import time

import pyarrow.parquet as pq
import pytest

from darkroom.settings import get_settings
from darkroom.sources import ArchiveSource, LayoutOptions, describe_all, fetch
from darkroom.storage import Storage

pytestmark = pytest.mark.integration


def it_takes_60_000_files_once_and_then_nothing_more(lake: Storage) -> None:
    archive = get_settings().samples / "cifar10-jpg.zip"
    if not archive.exists():
        pytest.skip("cifar10-jpg.zip is not in DARKROOM_SAMPLES")
    first = fetch(ArchiveSource(url=str(archive)), "cifar10", lake)
    started = time.monotonic()
    again = fetch(ArchiveSource(url=str(archive)), "cifar10", lake)
    assert time.monotonic() - started < 5
    assert (first.files, first.changed, again.changed) == (60_000, True, False)
    assert first.index_id == again.index_id
    paths = pq.read_table(io.BytesIO(lake.read(first.index_path)), columns=["path"])["path"].to_pylist()
    described = describe_all(paths, LayoutOptions())
    assert len({label for label, _, _ in described}) == 10
    assert {split for _, split, _ in described} == {"train", "test"}
