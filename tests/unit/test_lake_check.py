"""Checking a lake: whatever is missing or damaged is found, and every leftover is named."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from darkroom.lake_check import Checked, check_lake
from darkroom.storage import FolderStorage
from darkroom.tables import Table
from tests.suites.lakes import IMAGES, darkroom, digests, fill
from tests.suites.rows import PARTITION, SPEC, rows

pytestmark = pytest.mark.unit


@pytest.fixture
def lake(tmp_path: Path) -> FolderStorage:
    lake = FolderStorage(tmp_path / "lake")
    fill(lake)
    return lake


def check(lake: FolderStorage) -> Checked:
    return check_lake(lake, lambda *_: None)


def found(lake: FolderStorage) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in check(lake).findings]


def first(lake: FolderStorage, pattern: str) -> str:
    return next(path for path in digests(lake) if re.search(pattern, path))


def it_finds_nothing_in_a_whole_lake(lake: FolderStorage) -> None:
    done = check(lake)
    assert (done.findings, done.damaged) == ([], False)
    assert done.hashes == IMAGES + 1
    assert done.files == len(digests(lake))


@pytest.mark.parametrize(
    "pattern",
    [
        r"raw/phantom/blobs/",
        r"raw/phantom/index/",
        r"tables/.*dt=2026-01-01/.*\.parquet$",
        r"tables/.*/_delta_log/0{19}2\.json",
        r"packages/",
    ],
)
def it_finds_what_is_missing(lake: FolderStorage, pattern: str) -> None:
    path = first(lake, pattern)
    lake.delete(path)
    assert ("missing", path) in found(lake)
    assert f"missing: {path}" in darkroom("lake", "check", lake.root, code=1)


@pytest.mark.parametrize("pattern", [r"raw/phantom/blobs/", r"tables/.*feed=12e456/.*\.parquet$"])
def it_finds_a_wrong_size(lake: FolderStorage, pattern: str) -> None:
    path = first(lake, pattern)
    lake.write(path, lake.read(path)[:-1])
    assert ("wrong size", path) in found(lake)


@pytest.mark.parametrize("pattern", [r"raw/phantom/blobs/", r"packages/"])
def it_finds_a_flipped_bit(lake: FolderStorage, pattern: str) -> None:
    path = first(lake, pattern)
    data = bytearray(lake.read(path))
    data[len(data) // 2] ^= 1
    lake.write(path, bytes(data))
    assert found(lake) == [("wrong hash", path)]
    assert "0 hashes compared; 0 missing or damaged" in darkroom("lake", "check", "--no-hashes", lake.root)


@pytest.mark.parametrize(
    ("pattern", "content"),
    [
        (r"raw/phantom/index/", b"rubbish"),
        (r"raw/phantom/receipts/", b"{"),
        (r"champions/lamps/1\.json", b"[]"),
    ],
)
def it_finds_what_cannot_be_read(lake: FolderStorage, pattern: str, content: bytes) -> None:
    path = first(lake, pattern)
    lake.write(path, content)
    assert ("unreadable", path) in found(lake)
    assert check(lake).damaged


def it_finds_a_damaged_log_and_a_hole_among_the_champions(lake: FolderStorage) -> None:
    lake.write(f"{SPEC.path}/_delta_log/{22:020d}.json", b"rubbish")
    lake.write("champions/lamps/3.json", lake.read("champions/lamps/1.json"))
    kinds = found(lake)
    assert ("unreadable", f"{SPEC.path}/_delta_log") in kinds
    assert ("missing", "champions/lamps/2.json") in kinds


def it_names_every_leftover_and_calls_the_lake_whole(lake: FolderStorage, tmp_path: Path) -> None:
    table = Table(lake, SPEC)
    left = [f"{SPEC.path}/{table.write_file(PARTITION, rows(5)).path}", f"{SPEC.path}/stray.txt", "raw/x", "new/y"]
    for path in left[1:]:
        lake.write(path, b"1")
    half = tmp_path / "lake" / "raw" / ".tmp-half"
    half.write_bytes(b"half")
    assert sorted(found(lake)) == sorted([("leftover", path) for path in left] + [("unfinished", "raw/.tmp-half")])
    said = darkroom("lake", "check", lake.root)
    assert "0 missing or damaged, 5 left over" in said
    assert "0 unfinished writes removed, 1 younger ones kept" in darkroom("lake", "clean", lake.root)
    assert half.exists()
    day_before = time.time() - 90_000
    os.utime(half, (day_before, day_before))
    assert "removed: raw/.tmp-half" in darkroom("lake", "clean", DARKROOM_LAKE=lake.root)
    assert not half.exists()


def it_ends_with_one_line_on_a_wrong_call(tmp_path: Path) -> None:
    said = darkroom("lake", "check", "ftp://host/x", code=2)
    assert said == (
        "InvalidRequest: The address 'ftp://host/x' cannot be opened. "
        "Expected a folder, s3://bucket/prefix or hdfs://host:port/path.\n"
    )
    assert "0 files" in darkroom("lake", "check", str(tmp_path / "empty"))
    for wrong in ([], ["lake"], ["lake", "copy", "a"], ["lake", "clean", "--older-than", "-1"]):
        assert "usage: darkroom" in darkroom(*wrong, code=2)
