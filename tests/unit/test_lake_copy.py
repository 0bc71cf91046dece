"""Copying a lake: order, verification, and going on after a cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.lake_check import check_lake
from darkroom.lake_copy import Copied, copy_lake
from darkroom.storage import Blob, FolderStorage
from darkroom.tables import Table
from tests.suites.lakes import digests, fill
from tests.suites.rows import PARTITION, SPEC, rows

pytestmark = pytest.mark.unit


class Failing(FolderStorage):
    """A folder that takes so many writes and then no more."""

    def __init__(self, root: str, writes: int) -> None:
        super().__init__(root)
        self.left = writes

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        self.left -= 1
        if self.left < 0:
            raise StorageUnavailable("the target is gone")
        return super().write(path, data)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderStorage:
    lake = FolderStorage(tmp_path_factory.mktemp("source") / "lake")
    fill(lake)
    return lake


def copy(source: FolderStorage, target: FolderStorage, journals: Path) -> Copied:
    return copy_lake(source, target, journals, lambda _: None)


def it_copies_every_file_and_tells_how_far_it_is(source: FolderStorage, tmp_path: Path) -> None:
    target, seen = FolderStorage(tmp_path / "copy"), []
    done = copy_lake(source, target, tmp_path, lambda now: seen.append((now.done, now.done_size)))
    assert digests(target) == digests(source)
    assert (done.files, done.found) == (len(digests(source)), 0)
    assert sorted(seen)[-1] == (done.files, done.size)
    assert Table(target, SPEC).read().equals(Table(source, SPEC).read())
    again = copy(source, target, tmp_path)
    assert (again.found, again.files) == (done.files, done.files)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.8, 0.95])
def it_shows_whole_older_states_when_it_is_cut_off_and_goes_on_there(
    source: FolderStorage, tmp_path: Path, share: float
) -> None:
    files, root = len(digests(source)), str(tmp_path / "copy")
    with pytest.raises(StorageUnavailable, match="the target is gone"):
        copy(source, Failing(root, round(files * share)), tmp_path / "journals")
    target = FolderStorage(root)
    cut_off = len(digests(target))
    assert 0 < cut_off < files
    table = Table(target, SPEC)
    if (version := table.version()) is not None:
        assert table.read().equals(Table(source, SPEC).read(version=version))
    assert not [finding for finding in check_lake(target, lambda *_: None).findings if finding.kind != "leftover"]
    done = copy(source, target, tmp_path / "journals")
    assert done.found == cut_off
    assert digests(target) == digests(source)


def it_compares_contents_where_the_journal_is_lost_or_cut(source: FolderStorage, tmp_path: Path) -> None:
    target = FolderStorage(tmp_path / "copy")
    copy(source, target, tmp_path / "journals")
    damaged = next(path for path in digests(source) if path.startswith("raw/") and "/blobs/" in path)
    old = target.read(damaged)
    target.write(damaged, b"x" * len(old))
    (journal,) = (tmp_path / "journals").iterdir()
    journal.write_text(journal.read_text()[:-20])
    done = copy(source, target, tmp_path / "journals")
    assert done.files - done.found == 1
    target.write(damaged, b"x" * len(old))
    journal.unlink()
    assert copy(source, target, tmp_path / "journals").found == done.files - 1
    assert target.read(damaged) == old


def it_brings_over_what_came_later(tmp_path: Path) -> None:
    source, target = FolderStorage(tmp_path / "a"), FolderStorage(tmp_path / "b")
    table = Table(source, SPEC)
    table.commit(PARTITION, rows(3), {})
    copy(source, target, tmp_path)
    table.commit(PARTITION, rows(9), {})
    assert copy(source, target, tmp_path).found == 2
    assert Table(target, SPEC).read().num_rows == 9


def it_refuses_a_target_with_another_history_and_itself(source: FolderStorage, tmp_path: Path) -> None:
    target = FolderStorage(tmp_path / "other")
    Table(target, SPEC).commit(PARTITION, rows(3), {})
    before = digests(target)
    with pytest.raises(InvalidRequest, match="already holds another history"):
        copy(source, target, tmp_path)
    assert digests(target) == before
    with pytest.raises(InvalidRequest, match="to itself"):
        copy(source, FolderStorage(source.root), tmp_path)


def it_notices_a_file_that_arrives_differently(source: FolderStorage, tmp_path: Path) -> None:
    class Flipping(FolderStorage):
        def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
            blob = super().write(path, data)
            if path.endswith("large.bin"):
                with open(self.uri(path), "r+b") as file:
                    file.seek(7_000_000)
                    file.write(b"?")
            return blob

    with pytest.raises(StorageUnavailable, match=r"large\.bin is not what was sent there"):
        copy(source, Flipping(tmp_path / "copy"), tmp_path)
    assert os.path.exists(tmp_path / "copy" / "inbox" / "phantom" / "dt=2026-01-01" / "large.bin")
