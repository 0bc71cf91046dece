"""What a fetch leaves in the lake: from folders, and whatever happens on the way."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from darkroom.contract import RAW_INDEX_SCHEMA
from darkroom.errors import DarkroomError, InvalidRequest, SourceError, StorageUnavailable
from darkroom.sources import FetchResult, FolderSource, PhantomSource, fetch
from darkroom.storage import FolderStorage, Storage

pytestmark = pytest.mark.unit


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return fill(tmp_path / "pets", {"cat/1.jpg": b"one", "dog/2.jpg": b"two", "dog/same.jpg": b"one", "0.txt": b""})


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def take(folder: Path | str, lake: Storage, progress: Callable[[str], None] = print) -> FetchResult:
    return fetch(FolderSource(uri=str(folder)), "pets", lake, progress)


def contents(lake: Storage, result: FetchResult) -> dict[str, bytes]:
    table = pq.read_table(io.BytesIO(lake.read(result.index_path)))
    assert table.schema.equals(RAW_INDEX_SCHEMA)
    return {row["path"]: lake.read(row["uri"]) for row in table.to_pylist()}


def visible(lake: Storage) -> list[str]:
    return [blob.path for folder in ("index", "receipts") for blob in lake.list(f"raw/pets/{folder}")]


def it_stores_each_content_once_and_lists_every_path(pets: Path, lake: Storage) -> None:
    result = take(pets, lake)
    assert contents(lake, result) == {"cat/1.jpg": b"one", "dog/2.jpg": b"two", "dog/same.jpg": b"one", "0.txt": b""}
    assert (result.files, result.bytes, result.changed, result.left_out) == (4, 9, True, {})
    assert len(list(lake.list("raw/pets/blobs"))) == 3


def it_puts_a_lost_blob_back(pets: Path, lake: Storage) -> None:
    first = take(pets, lake)
    lost = next(blob.path for blob in lake.list("raw/pets/blobs"))
    lake.delete(lost)
    again = take(pets, lake)
    assert lake.stat(lost) is not None
    assert again.index_path == first.index_path
    assert contents(lake, again)["cat/1.jpg"] == b"one"


def it_changes_nothing_the_second_time_and_only_adds_later(pets: Path, lake: Storage) -> None:
    first = take(pets, lake)
    before = {blob.path: blob.etag for blob in lake.list()}
    said: list[str] = []
    again = take(pets, lake, said.append)
    assert (again.changed, again.index_id) == (False, first.index_id)
    assert "nothing changed" in said[-1]
    assert {blob.path: blob.etag for blob in lake.list()} == before
    fill(pets, {"cat/3.jpg": b"three"})
    grown = take(pets, lake)
    assert (grown.changed, grown.files) == (True, 5)
    assert grown.index_id != first.index_id
    after = {blob.path: blob.etag for blob in lake.list()}
    assert before.items() <= after.items()


def it_gives_equal_files_in_another_folder_the_same_index(pets: Path, tmp_path: Path, lake: Storage) -> None:
    first = take(pets, lake)
    other = fill(tmp_path / "other", {"dog/same.jpg": b"one", "0.txt": b"", "dog/2.jpg": b"two", "cat/1.jpg": b"one"})
    assert take(other, lake).index_id == first.index_id
    assert not take(other, lake).changed


def it_fetches_again_when_the_index_is_gone(pets: Path, lake: Storage) -> None:
    first = take(pets, lake)
    lake.delete(first.index_path)
    assert take(pets, lake).changed
    assert lake.stat(first.index_path) is not None


def it_leaves_out_system_files_and_links_that_lead_out(pets: Path, tmp_path: Path, lake: Storage) -> None:
    fill(pets, {".DS_Store": b"x", "cat/._1.jpg": b"x", "__MACOSX/a/b": b"x", "dog/Thumbs.db": b"x"})
    secret = fill(tmp_path, {"secret.txt": b"secret"}) / "secret.txt"
    (pets / "cat/out.jpg").symlink_to(secret)
    (pets / "cat/up").symlink_to(tmp_path)
    (pets / "cat/round").symlink_to(pets)
    (pets / "cat/gone.jpg").symlink_to(pets / "nothing.jpg")
    (pets / "cat/inside.jpg").symlink_to("../dog/2.jpg")
    os.mkfifo(pets / "cat/pipe")
    result = take(pets, lake)
    assert contents(lake, result)["cat/inside.jpg"] == b"two"
    assert result.files == 5
    assert result.left_out == {
        "links out of the folder": 2,
        "links to folders": 1,
        "links to nothing": 1,
        "special files": 1,
        "system files": 4,
    }


def it_keeps_unusual_names_apart(tmp_path: Path, lake: Storage) -> None:
    names = [
        "a/A.jpg",
        "a/a.jpg",
        "ä/ö 猫 🐱.jpg",
        "a/10 - Copy (2).jpg",
        "a/new\nline.jpg",
        "a/%2e%2e.jpg",
        "a/x\\y.jpg",
    ]
    folder = fill(tmp_path / "odd", {name: name.encode() for name in names})
    (folder / os.fsdecode(b"a/\xff\xfe.jpg")).write_bytes(b"bytes")
    found = contents(lake, take(folder, lake))
    assert {unicodedata.normalize("NFC", name) for name in names} < set(found)
    assert found["a/\\xff\\xfe.jpg"] == b"bytes"
    assert not take(folder, lake).changed


def it_refuses_two_contents_under_names_that_look_the_same(tmp_path: Path, lake: Storage) -> None:
    folder = fill(tmp_path / "odd", {"a/\u00e9.jpg": b"1", "a/e\u0301.jpg": b"2"})
    with pytest.raises(SourceError, match="two different files under the path"):
        take(folder, lake)
    assert visible(lake) == []


def it_explains_a_folder_that_cannot_be_used(tmp_path: Path, lake: Storage) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        take(tmp_path / "none", lake)
    with pytest.raises(SourceError, match="is a file, not a folder"):
        take(fill(tmp_path, {"file": b""}) / "file", lake)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no files to take \(left out: nothing\)"):
        take(tmp_path / "empty", lake)
    with pytest.raises(InvalidRequest, match="cannot be opened"):
        take("gs://bucket/images", lake)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        fetch(FolderSource(uri=str(tmp_path)), "../pets", lake)
    assert list(lake.list()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def it_names_a_file_that_it_may_not_read(pets: Path, lake: Storage) -> None:
    (pets / "cat/1.jpg").chmod(0)
    with pytest.raises(SourceError, match=r"'cat/1.jpg' cannot be read"):
        take(pets, lake)


def it_notices_a_file_that_changes_while_it_is_read(pets: Path, lake: Storage) -> None:
    def meddle(_: str) -> None:
        (pets / "cat/1.jpg").write_bytes(b"another")

    with pytest.raises(StorageUnavailable, match=r"'cat/1.jpg' changed while"):
        take(pets, lake, meddle)
    assert visible(lake) == []
    assert take(pets, lake).files == 4


def it_spools_large_files(tmp_path: Path, lake: Storage) -> None:
    large = os.urandom(1 << 20) * 40
    folder = fill(tmp_path / "large", {"a/1.tif": large, "a/2.tif": large, "a/3.tif": large[: 16 << 20]})
    assert contents(lake, take(folder, lake)) == {
        "a/1.tif": large,
        "a/2.tif": large,
        "a/3.tif": large[: 16 << 20],
    }


class _Failing(FolderStorage):
    """A folder that runs out of room, or whose process is killed, at the given write."""

    def __init__(self, root: str, at: int, kill: bool) -> None:
        super().__init__(root)
        self._left, self._kill = at, kill

    def write(self, path: str, data: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise StorageUnavailable("the disk is full")
        return super().write(path, data)


def _fetch_and_die(folder: str, root: str, at: int) -> None:
    take(folder, _Failing(root, at, kill=True))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("kill", [False, True])
def it_leaves_nothing_visible_when_it_fails_at_any_write(kill: bool, pets: Path, lake: Storage, tmp_path: Path) -> None:
    expected = take(pets, FolderStorage(tmp_path / "calm"))
    for at in range(5):  # three blobs, the index, the receipt
        broken = FolderStorage(tmp_path / f"lake{at}")
        if kill:
            process = multiprocessing.get_context("fork").Process(
                target=_fetch_and_die, args=(str(pets), broken.root, at)
            )
            process.start()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        else:
            with pytest.raises(StorageUnavailable):
                take(pets, _Failing(broken.root, at, kill=False))
        assert not [path for path in visible(broken) if "receipts" in path]
        assert len(visible(broken)) == (at > 3)
        kept = {blob.path: blob.etag for blob in broken.list("raw/pets/blobs")}
        result = take(pets, broken)
        assert result.index_id == expected.index_id
        assert contents(broken, result)["dog/same.jpg"] == b"one"
        assert kept.items() <= {blob.path: blob.etag for blob in broken.list("raw/pets/blobs")}.items()


def it_takes_phantoms_and_says_that_they_are_synthetic(lake: Storage) -> None:
    said: list[str] = []
    first = fetch(PhantomSource(images=30, size_range=(400, 450)), "phantom", lake, said.append)
    assert first.files == 30
    assert "synthetic" in said[0]
    assert "no patient" in said[0]
    assert not fetch(PhantomSource(images=30, size_range=(400, 450)), "phantom", lake).changed
    assert fetch(PhantomSource(images=30, size_range=(400, 450), seed=1), "phantom", lake).changed


def it_raises_nothing_but_named_errors_for_odd_addresses(lake: Storage) -> None:
    for uri in ("s3://", "://", "http://host/folder", "file://host/folder", "~nobody-here/x", "\0", "s3://[bad"):
        with pytest.raises(DarkroomError):
            take(uri, lake)
