"""Sources on a real S3 server: a folder of it as the source, a lake in it as the goal."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from darkroom.errors import SourceError
from darkroom.settings import get_settings
from darkroom.sources import ArchiveSource, FetchResult, FolderSource, PhantomSource, fetch
from darkroom.storage import S3Storage, Storage

pytestmark = pytest.mark.integration

FILES = {"train/cat/1.jpg": b"one", "train/ü/2.jpg": b"two", "test/cat/3.jpg": b"one", "test/cat/4.jpg": b""}


@pytest.fixture(autouse=True)
def settings(s3_lake: S3Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DARKROOM_S3_ENDPOINT", s3_lake.options.endpoint)
    monkeypatch.setenv("DARKROOM_S3_ACCESS_KEY", s3_lake.options.access_key)
    monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", s3_lake.options.secret_key)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def contents(lake: Storage, result: FetchResult) -> dict[str, bytes]:
    rows = pq.read_table(io.BytesIO(lake.read(result.index_path))).to_pylist()
    return {row["path"]: lake.read(row["uri"]) for row in rows}


def it_takes_a_folder_of_the_object_store(s3_lake: S3Storage, lake: Storage) -> None:
    for path, data in FILES.items():
        s3_lake.write(f"photos/{path}", data)
    s3_lake.write("photos/.DS_Store", b"x")
    source = FolderSource(uri=s3_lake.uri("photos"))
    first = fetch(source, "pets", lake)
    assert contents(lake, first) == FILES
    assert first.left_out == {"system files": 1}
    assert not fetch(source, "pets", lake).changed
    s3_lake.write("photos/test/cat/4.jpg", b"new")
    assert fetch(source, "pets", lake).changed
    with pytest.raises(SourceError, match="holds no files"):
        fetch(FolderSource(uri=s3_lake.uri("nothing")), "pets", lake)


def it_brings_archives_and_phantoms_into_a_lake_on_the_object_store(s3_lake: S3Storage, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path, data in FILES.items():
            archive.writestr(path, data)
    source = ArchiveSource(url=str(tmp_path / "a.zip"))
    first = fetch(source, "pets", s3_lake)
    assert contents(s3_lake, first) == FILES
    assert not fetch(source, "pets", s3_lake).changed
    phantoms = PhantomSource(images=40, size_range=(400, 420))
    drawn = fetch(phantoms, "phantom", s3_lake)
    assert len(contents(s3_lake, drawn)) == 40
    assert not fetch(phantoms, "phantom", s3_lake).changed
