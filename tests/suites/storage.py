"""What every storage must do."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from darkroom.errors import InvalidRequest
from darkroom.storage import Storage
from tests.suites.forks import forks

AWKWARD_NAMES = [
    "a", "a-b/x", "a.b", "a/b", "a/b.c", "a/b/c",
    "a b.jpg", "a%20b", "a+b", "a#b?c&d=e", "a;b,c:d@e", "a'b\"c", "ä", "日本/図",
    "Z", "_x", ".hidden", "~", "(1)", "[x]*", "10 - Copy (2).jpg", "dt=2026-01-01/feed=x/a",
]  # fmt: skip
UNSAFE_PATHS = [
    "", "/", "a/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a\0b", "a\\b", ".tmp-x",
    "a/.tmp-x/b", "bad\udcff",
]  # fmt: skip


# Every way to ask a server for something, for tests of servers that cannot be asked.
CALLS: list[Callable[[Storage], object]] = [
    lambda storage: storage.read("x"),
    lambda storage: storage.open("x"),
    lambda storage: storage.write("x", b"1"),
    lambda storage: storage.create("x", b"1"),
    lambda storage: storage.stat("x"),
    lambda storage: list(storage.list()),
    lambda storage: storage.folders(),
    lambda storage: storage.delete("x"),
]


class BrokenStream(io.RawIOBase):
    """Gives some bytes and then fails, as a download that is cut off does."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            raise ConnectionResetError("the source was cut off")
        size = self.left if size < 0 else min(size, self.left)
        self.left -= size
        return b"x" * size


def die_while_writing(storage: Storage, path: str, size: int) -> None:
    """Writes a stream of ``size`` bytes that never ends well: the process is killed at its last byte."""
    storage.write(path, _Deadly(size))  # type: ignore[arg-type]


class _Deadly(BrokenStream):
    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            time.sleep(0.5)  # what was sent gets there
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)


class StorageSuite:
    refused_names: tuple[str, ...] = ()
    """Names that the storage cannot keep; it says so."""

    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    def it_reads_what_was_written_from_bytes_a_stream_or_a_file(self, storage: Storage, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"from a file")
        for name, data in [
            ("bytes", b"from bytes"),
            ("stream", io.BytesIO(b"from a stream")),
            ("file", tmp_path / "source"),
            ("empty", b""),
            ("empty stream", io.BytesIO()),
        ]:
            expected = {"bytes": b"from bytes", "stream": b"from a stream", "file": b"from a file"}.get(name, b"")
            blob = storage.write(f"deep/er/{name}", data)
            assert (blob.path, blob.size) == (f"deep/er/{name}", len(expected))
            assert storage.read(f"deep/er/{name}") == expected

    def it_replaces_a_blob(self, storage: Storage) -> None:
        first = storage.write("x", b"old and long")
        second = storage.write("x", b"new")
        assert storage.read("x") == b"new"
        assert first.etag != second.etag

    def it_knows_size_tag_and_time(self, storage: Storage) -> None:
        blob = storage.write("a/x", b"12345")
        found = storage.stat("a/x")
        assert found is not None
        assert (found.path, found.size, found.etag) == ("a/x", 5, blob.etag)
        assert [entry.etag for entry in storage.list()] == [blob.etag]
        for moment in (blob.modified, found.modified):
            assert moment.utcoffset() == timedelta(0)
            assert abs(moment - datetime.now(UTC)) < timedelta(minutes=2)

    def it_says_that_a_blob_is_absent(self, storage: Storage, tmp_path: Path) -> None:
        storage.write("folder/x", b"1")
        for path in ("none", "no/ne", "folder"):
            assert storage.stat(path) is None
            storage.delete(path)
            with pytest.raises(FileNotFoundError):
                storage.read(path)
            with pytest.raises(FileNotFoundError):
                storage.read(path, limit=0)
            with pytest.raises(FileNotFoundError):
                storage.open(path)
            with pytest.raises(FileNotFoundError):
                storage.download(path, tmp_path / "target")
        assert not (tmp_path / "target").exists()
        assert list(storage.list("none")) == []
        assert list(storage.list("folder/x")) == []
        assert storage.folders("none") == []
        assert storage.read("folder/x") == b"1"

    def it_reads_no_more_than_the_limit(self, storage: Storage) -> None:
        storage.write("x", b"0123456789")
        storage.write("empty", b"")
        assert [storage.read("x", limit=limit) for limit in (0, 1, 10, 99)] == [b"", b"0", b"0123456789", b"0123456789"]
        assert [storage.read("empty", limit=limit) for limit in (0, 5)] == [b"", b""]

    def it_streams_and_seeks(self, storage: Storage) -> None:
        data = random.Random(1).randbytes(9 * 2**20 + 17)
        storage.write("x", data)
        with storage.open("x") as stream:
            assert b"".join(iter(lambda: stream.read(1_000_003), b"")) == data
            for start, size in [(0, 10), (len(data) - 8, 100), (4 * 2**20 - 3, 7), (5, 6 * 2**20), (len(data) + 5, 3)]:
                stream.seek(start)
                assert stream.read(size) == data[start : start + size]
            assert stream.seek(-4, os.SEEK_END) == len(data) - 4
            assert stream.read() == data[-4:]

    def it_takes_a_long_stream_of_unknown_length(self, storage: Storage, tmp_path: Path) -> None:
        data = random.Random(2).randbytes(2**20) * 40
        blob = storage.write("x", io.BufferedReader(io.BytesIO(data)))  # type: ignore[arg-type]
        assert blob.size == len(data)
        storage.download("x", tmp_path / "new" / "target")
        assert hashlib.sha256((tmp_path / "new" / "target").read_bytes()).digest() == hashlib.sha256(data).digest()
        assert os.listdir(tmp_path / "new") == ["target"]
        assert storage.write("y", tmp_path / "new" / "target").size == len(data)

    def it_lists_sorted_by_path_whatever_the_names(self, storage: Storage) -> None:
        for name in self.refused_names:
            with pytest.raises(InvalidRequest, match="Use another path"):
                storage.write(name, b"1")
        left_out = ("a", "a/b", *self.refused_names)  # a file and a folder share no name
        names = [name for name in AWKWARD_NAMES if name not in left_out]
        for name in random.Random(3).sample(names, len(names)):
            storage.write(name, name.encode())
        listed = list(storage.list())
        assert [blob.path for blob in listed] == sorted(names)
        assert all(
            storage.read(blob.path) == blob.path.encode() and blob.size == len(blob.path.encode()) for blob in listed
        )
        assert [blob.path for blob in storage.list("a")] == ["a/b.c", "a/b/c"]
        assert [blob.path for blob in storage.list("a/")] == ["a/b.c", "a/b/c"]
        assert storage.folders() == ["a", "a-b", "dt=2026-01-01", "日本"]
        assert storage.folders("dt=2026-01-01") == ["feed=x"]
        for name in names:
            storage.delete(name)
        assert (list(storage.list()), storage.folders()) == ([], [])

    def it_lists_more_than_a_page(self, storage: Storage) -> None:
        names = [f"p/{number:04}" for number in range(1105)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: storage.write(name, b"1"), names))
        assert [blob.path for blob in storage.list("p")] == names
        assert storage.folders() == ["p"]

    def it_creates_once(self, storage: Storage) -> None:
        assert storage.create("a/x", b"first")
        assert not storage.create("a/x", b"second")
        assert storage.read("a/x") == b"first"
        storage.delete("a/x")
        assert storage.create("a/x", b"third")

    def it_lets_one_of_32_racing_creators_win(self, storage: Storage) -> None:
        start = threading.Barrier(32)
        text = pickle.dumps(storage)

        def race(number: int) -> bool:
            mine = pickle.loads(text)
            start.wait()
            return mine.create("race/x", f"writer {number}".encode() * 5_000)

        with ThreadPoolExecutor(32) as pool:
            won = list(pool.map(race, range(32)))
        assert won.count(True) == 1
        assert storage.read("race/x") == f"writer {won.index(True)}".encode() * 5_000
        assert [blob.path for blob in storage.list()] == ["race/x"]

    def it_shows_readers_the_old_or_the_new(self, storage: Storage) -> None:
        contents = {bytes([letter]) * (2 * 2**20 + letter) for letter in b"ab"}
        storage.write("x", min(contents))
        done = threading.Event()
        seen: set[bytes] = set()

        def look() -> None:
            while not done.is_set():
                seen.add(storage.read("x"))

        reader = threading.Thread(target=look)
        reader.start()
        for _ in range(10):
            for data in contents:
                storage.write("x", data)
                assert [blob.path for blob in storage.list()] == ["x"]
        done.set()
        reader.join()
        assert seen <= contents

    def it_leaves_nothing_of_a_write_that_failed(self, storage: Storage) -> None:
        storage.write("kept", b"old")
        for path in ("kept", "new"):
            for size in (100, 40 * 2**20):
                with pytest.raises(Exception, match=r"cut off"):
                    storage.write(path, BrokenStream(size))  # type: ignore[arg-type]
        assert storage.read("kept") == b"old"
        assert [blob.path for blob in storage.list()] == ["kept"]

    def it_finds_and_discards_what_a_killed_write_left(self, storage: Storage) -> None:
        storage.write("kept/x", b"old")
        assert list(storage.unfinished()) == []
        writer = forks().Process(target=die_while_writing, args=(storage, "kept/y ü", 40 * 2**20))
        writer.start()
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL
        deadline = time.monotonic() + 10  # a server may take a moment to see that its client is gone
        while not (found := list(storage.unfinished())) and time.monotonic() < deadline:
            time.sleep(0.1)
        (left,) = found
        assert left.path.startswith("kept/")
        assert abs(left.modified - datetime.now(UTC)) < timedelta(minutes=2)
        assert [blob.path for blob in storage.list()] == ["kept/x"]
        storage.discard(left)
        storage.discard(left)
        assert list(storage.unfinished()) == []
        assert storage.read("kept/x") == b"old"

    @pytest.mark.parametrize("path", UNSAFE_PATHS)
    def it_refuses_a_path_that_leads_elsewhere(self, storage: Storage, path: str, tmp_path: Path) -> None:
        calls: list[Callable[[], object]] = [
            lambda: storage.read(path),
            lambda: storage.open(path),
            lambda: storage.write(path, b"1"),
            lambda: storage.create(path, b"1"),
            lambda: storage.stat(path),
            lambda: storage.delete(path),
            lambda: storage.download(path, tmp_path / "target"),
        ]
        if path not in ("", "a/"):
            calls += [lambda: storage.uri(path), lambda: list(storage.list(path)), lambda: storage.folders(path)]
        for call in calls:
            with pytest.raises(InvalidRequest, match="Expected a path"):
                call()
        assert list(storage.list()) == []

    def it_can_be_pickled_and_compared(self, storage: Storage) -> None:
        storage.write("x", b"1")
        copy = pickle.loads(pickle.dumps(storage))
        assert copy == storage
        assert copy.read("x") == b"1"
        assert (copy.root, copy.uri("a/x"), copy.uri("")) == (storage.root, f"{storage.root}/a/x", storage.root)
        assert isinstance(storage, Storage)
