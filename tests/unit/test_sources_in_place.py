"""Images that stay in a folder of a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from darkroom.errors import DataError
from darkroom.reader import ImageReader
from darkroom.sources import FolderSource, fetch
from darkroom.storage import FolderStorage, Storage
from tests.packages import png
from tests.suites.in_place import InPlaceSuite, rows_of
from tests.suites.lakes import darkroom

pytestmark = pytest.mark.unit


@pytest.fixture
def source(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "photos")


class TestInPlaceInAFolder(InPlaceSuite):
    pass


def swap_unnoticed(file: Path, data: bytes) -> None:
    """Other bytes of the same number, under the same time."""
    before = file.stat()
    assert len(data) == before.st_size
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def it_reads_a_file_once_and_then_only_when_its_tag_changes(source: FolderStorage, lake: Storage) -> None:
    source.write("lit/1.png", b"a" * 1000)
    folder = FolderSource(uri=source.root, in_place=True)
    first = rows_of(lake, fetch(folder, "pets", lake))
    swap_unnoticed(Path(source.uri("lit/1.png")), b"b" * 1000)
    assert not fetch(folder, "pets", lake).changed
    source.write("lit/2.png", b"new")
    grown = rows_of(lake, fetch(folder, "pets", lake))
    assert grown["lit/1.png"] == first["lit/1.png"]
    with pytest.raises(DataError, match="has changed since"):  # what the tag cannot tell, the SHA-256 does
        ImageReader(lake).read(grown["lit/1.png"]["uri"], grown["lit/1.png"]["content_id"])


def it_leaves_out_and_counts_names_that_no_address_can_hold(source: FolderStorage, lake: Storage) -> None:
    source.write("lit/1.png", b"a")
    folder = os.fsencode(source.root)
    for name in (rb"lit/back\slash.png", b"lit/\xff.png"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"b")
    taken = fetch(FolderSource(uri=source.root, in_place=True), "pets", lake)
    assert (taken.files, taken.left_out) == (1, {"names that cannot be addressed": 2})


def it_tells_on_the_command_line_what_is_in_place(source: FolderStorage, lake: Storage, tmp_path: Path) -> None:
    for number in range(3):
        source.write(f"lit/{number}.png", png(100, number))
    fetch(FolderSource(uri=source.root, in_place=True), "pets", lake)
    assert "3 images in place elsewhere not looked at" in darkroom("lake", "check", lake.root)
    told = darkroom("lake", "copy", lake.root, str(tmp_path / "copy"), DARKROOM_HOME=str(tmp_path / "home"))
    assert "3 images are in place elsewhere and were not copied" in told
