"""Archives: what is taken, what is refused whole, and what is said of damaged ones."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from darkroom.errors import InvalidRequest, SourceError, UserError
from darkroom.settings import get_settings
from darkroom.sources import ArchiveSource, FetchResult, describe_all, fetch, parse_layout
from darkroom.sources.archive import check_members
from darkroom.sources.archive_formats import open_archive
from darkroom.storage import Storage

pytestmark = pytest.mark.unit

GOOD = {"set/train/cat/1.jpg": b"one", "set/train/dog/2.jpg": b"two" * 1000, "set/test/cat/3.jpg": b"", "ü/4.jpg": b"4"}


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("DARKROOM_MAX_ARCHIVE_BYTES", "1000000")
    monkeypatch.setenv("DARKROOM_MAX_ARCHIVE_FILES", "50")
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def take(archive: Path, lake: Storage, **options: str) -> FetchResult:
    return fetch(ArchiveSource(url=str(archive), **options), "pets", lake)


def refused(archive: Path, lake: Storage, **options: str) -> str:
    """The message of the refusal, once it is sure that nothing came into the lake."""
    with pytest.raises(SourceError) as raised:
        take(archive, lake, **options)
    assert list(lake.list()) == []
    return raised.value.message


def contents(lake: Storage, result: FetchResult) -> dict[str, bytes]:
    rows = pq.read_table(io.BytesIO(lake.read(result.index_path))).to_pylist()
    found = {row["path"]: lake.read(row["uri"]) for row in rows}
    assert all(hashlib.sha256(found[r["path"]]).hexdigest() == r["content_id"] for r in rows)
    assert [row["path"] for row in rows] == sorted(found)
    return found


def a_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def a_tar(
    path: Path,
    files: dict[str, bytes],
    *extra: tarfile.TarInfo,
    mode: str = "w",
    tar_format: int = tarfile.PAX_FORMAT,
) -> Path:
    with tarfile.open(path, mode, format=tar_format) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def it_takes_tars_of_every_compression_whatever_they_are_called(mode: str, tmp_path: Path, lake: Storage) -> None:
    folder = special("set/", tarfile.DIRTYPE)
    assert contents(lake, take(a_tar(tmp_path / "file.bin", GOOD, folder, mode=mode), lake)) == GOOD


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def it_takes_zips_of_every_compression(compression: int, tmp_path: Path, lake: Storage) -> None:
    assert contents(lake, take(a_zip(tmp_path / "file.bin", GOOD, compression), lake)) == GOOD


def it_takes_a_file_url_and_paths_written_on_windows(tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a b.zip", {"train\\cat\\1.jpg": b"1", "./train//cat/2.jpg": b"2"})
    result = fetch(ArchiveSource(url=archive.as_uri()), "pets", lake)
    assert set(contents(lake, result)) == {"train/cat/1.jpg", "train/cat/2.jpg"}


def it_changes_nothing_the_second_time(tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", GOOD)
    first = take(archive, lake)
    stored = {blob.path: blob.modified for blob in lake.list("raw/pets/blobs")}
    again = take(archive, lake)
    assert (first.changed, again.changed) == (True, False)
    assert (first.index_id, first.files, first.bytes) == (again.index_id, again.files, again.bytes)
    moved = archive.rename(tmp_path / "b.zip")
    assert not take(moved, lake).changed
    assert not take(a_tar(tmp_path / "a.tar", GOOD), lake).changed  # other container, same files
    assert {blob.path: blob.modified for blob in lake.list("raw/pets/blobs")} == stored


def it_leaves_out_system_files_and_links_inside_and_counts_them(tmp_path: Path, lake: Storage) -> None:
    extra = {"__MACOSX/set/._1.jpg": b"x", "set/.DS_Store": b"x", "set/Thumbs.db": b"x"}
    link = special("set/train/cat/link.jpg", tarfile.SYMTYPE, "../dog/2.jpg")
    hard = special("set/train/cat/hard.jpg", tarfile.LNKTYPE, "set/train/dog/2.jpg")
    result = take(a_tar(tmp_path / "a.tar", {**GOOD, **extra}, link, hard), lake)
    assert contents(lake, result) == GOOD
    assert result.left_out == {"links": 2, "system files": 3}
    assert take(tmp_path / "a.tar", lake).left_out == result.left_out


@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/etc/evil.jpg", "..\\evil.jpg", "C:\\evil.jpg"])
@pytest.mark.parametrize("make", [a_zip, a_tar])
def it_refuses_paths_that_lead_out(
    make: Callable[[Path, dict[str, bytes]], Path], name: str, tmp_path: Path, lake: Storage
) -> None:
    message = refused(make(tmp_path / "a", {**GOOD, name: b"x"}), lake)
    assert repr(name) in message
    assert "nothing was taken" in message


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (special("a/link", tarfile.SYMTYPE, "/etc/passwd"), "leads out of the archive, to '/etc/passwd'"),
        (special("a/link", tarfile.SYMTYPE, "../../x"), "leads out"),
        (special("a/link", tarfile.LNKTYPE, "../x"), "leads out"),
        (special("a/device", tarfile.CHRTYPE), "device"),
        (special("a/pipe", tarfile.FIFOTYPE), "special file"),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def it_refuses_links_out_and_devices_in_tars(
    member: tarfile.TarInfo, reason: str, mode: str, tmp_path: Path, lake: Storage
) -> None:
    assert reason in refused(a_tar(tmp_path / "a.tar", GOOD, member, mode=mode), lake)


@pytest.mark.parametrize(("mode", "reason"), [(stat.S_IFLNK, "link that leads out"), (stat.S_IFIFO, "special file")])
def it_refuses_links_out_and_devices_in_zips(mode: int, reason: str, tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", GOOD)
    info = zipfile.ZipInfo("set/odd")
    info.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(info, "../../etc/passwd")
    assert reason in refused(archive, lake)


def it_refuses_an_encrypted_zip(tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", {"a/1.jpg": b"secret"}, zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # flag of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(data)
    assert "is encrypted" in refused(archive, lake)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def it_refuses_too_many_bytes_and_too_many_members(mode: str, tmp_path: Path, lake: Storage) -> None:
    large = {"a/1.jpg": bytes(600_000), "a/2.jpg": bytes(600_000)}
    many = {f"a/{i}.jpg": b"" for i in range(51)}
    for made in (a_zip(tmp_path / "l.zip", large), a_tar(tmp_path / "l.tar", large, mode=mode)):
        assert "DARKROOM_MAX_ARCHIVE_BYTES" in refused(made, lake)
    for made in (a_zip(tmp_path / "m.zip", many), a_tar(tmp_path / "m.tar", many, mode=mode)):
        assert "DARKROOM_MAX_ARCHIVE_FILES" in refused(made, lake)


def it_is_not_fooled_by_a_zip_that_lies_about_its_sizes(tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", {"a/bomb.jpg": bytes(5_000_000)})
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 1_000)))
    with pytest.raises(SourceError, match=r"damaged at its member 'a/bomb.jpg'"):
        take(archive, lake)
    archive.write_bytes(data.replace(struct.pack("<I", 5_000_000), struct.pack("<I", 999_999_999)))
    assert "DARKROOM_MAX_ARCHIVE_BYTES" in refused(archive, lake)


def it_stops_when_more_comes_out_than_declared_and_allowed(tmp_path: Path, lake: Storage) -> None:
    """Many headers that share one compressed body: each is declared small enough, their sum is not."""
    archive = a_zip(tmp_path / "a.zip", {f"a/{i}.jpg": bytes(30_000) for i in range(40)})
    assert "DARKROOM_MAX_ARCHIVE_BYTES" in refused(archive, lake)


def it_refuses_a_tar_header_that_would_fill_the_memory(tmp_path: Path, lake: Storage) -> None:
    info = special("a/long", tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 40
    archive = tmp_path / "a.tar"
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert "claims to be" in refused(archive, lake)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def it_names_the_member_whose_bytes_are_damaged(compression: int, tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", {"a/1.jpg": bytes(range(256)) * 40, "a/2.jpg": b"fine"}, compression)
    data = bytearray(archive.read_bytes())
    data[120] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(SourceError, match=r"damaged at its member 'a/1.jpg'"):
        take(archive, lake)
    assert list(lake.list("raw/pets/index")) == []
    assert list(lake.list("raw/pets/receipts")) == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def it_refuses_a_tar_that_was_cut_anywhere(mode: str, tmp_path: Path, lake: Storage) -> None:
    whole = a_tar(tmp_path / "a.tar", {f"a/{i}.jpg": bytes([i]) * 700 for i in range(5)}, mode=mode).read_bytes()
    end = len(whole) if mode != "w" else 5 * 3 * 512  # what follows the last member is padding
    for share in (0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0):
        length = min(int(end * share), len(whole) - 1)
        for cut in {length, length // 512 * 512}:
            (tmp_path / "cut.tar").write_bytes(whole[:cut])
            refused(tmp_path / "cut.tar", lake)


@pytest.mark.parametrize("pack", [lambda d: d, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 no zip", bytes(100), b"\xff" * 5000])
def it_refuses_what_is_no_archive(pack: Callable[[bytes], bytes], data: bytes, tmp_path: Path, lake: Storage) -> None:
    (tmp_path / "a.zip").write_bytes(pack(data))
    assert "a.zip is damaged" in refused(tmp_path / "a.zip", lake)


def it_refuses_an_archive_without_files(tmp_path: Path, lake: Storage) -> None:
    assert "holds no files to take (left out: nothing)" in refused(a_zip(tmp_path / "a.zip", {}), lake)
    only = {"__MACOSX/a": b"x", ".hidden": b"y"}
    assert "(left out: 2 system files)" in refused(a_zip(tmp_path / "b.zip", only), lake)


def it_explains_a_path_that_leads_to_no_archive(tmp_path: Path, lake: Storage) -> None:
    assert "does not exist" in refused(tmp_path / "none.zip", lake)
    assert "Use the folder source" in refused(tmp_path, lake)
    for url in ("ftp://host/a.zip", "s3://bucket/a.zip", "file://elsewhere/a.zip"):
        with pytest.raises(InvalidRequest, match="Expected"):
            fetch(ArchiveSource(url=url), "pets", lake)


def it_checks_the_sha256(tmp_path: Path, lake: Storage) -> None:
    archive = a_zip(tmp_path / "a.zip", GOOD)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    message = refused(archive, lake, sha256="0" * 64)
    assert digest in message
    assert "0" * 64 in message
    assert take(archive, lake, sha256=digest).changed


def it_keeps_one_of_two_equal_members_and_refuses_two_different_ones(tmp_path: Path, lake: Storage) -> None:
    twin, other = special("a/1.jpg", tarfile.REGTYPE), special("A/1.JPG", tarfile.REGTYPE)
    result = take(a_tar(tmp_path / "a.tar", {"a/1.jpg": b""}, twin, other), lake)
    assert contents(lake, result) == {"a/1.jpg": b"", "A/1.JPG": b""}
    assert result.left_out == {"listed twice": 1}
    composed, decomposed = "a/\u00e9.jpg", "a/e\u0301.jpg"
    archive = a_zip(tmp_path / "b.zip", {composed: b"1", decomposed: b"2"})
    with pytest.raises(SourceError, match=r"two different files under the path 'a/é.jpg'"):
        take(archive, lake)


@pytest.mark.parametrize(
    ("name", "files", "classes"),
    [("chest-xray-224", 5840, 2), ("chest-ct-400", 1000, 4), ("imagenet-sample-400", 400, 0)],
)
def it_takes_the_real_sets(name: str, files: int, classes: int, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = get_settings().samples / f"{name}.zip"
    if not archive.exists():
        pytest.skip(f"{name}.zip is not in DARKROOM_SAMPLES")
    for setting in ("DARKROOM_MAX_ARCHIVE_BYTES", "DARKROOM_MAX_ARCHIVE_FILES"):
        monkeypatch.delenv(setting)
    get_settings.cache_clear()
    result = take(archive, lake)
    assert (result.files, result.changed) == (files, True)
    assert not take(archive, lake).changed
    paths = pq.read_table(io.BytesIO(lake.read(result.index_path)), columns=["path"])["path"].to_pylist()
    options = parse_layout({"labels": "^([a-z.]+)_" if name == "chest-ct-400" else None})
    labels = {label for label, _, _ in describe_all(paths, options)}
    assert len(labels - {None}) == classes


@pytest.mark.parametrize("kind", ["zip", "pax", "gnu"])
def it_raises_only_named_errors_of_the_user_for_random_damage(kind: str, tmp_path: Path) -> None:
    names = ["a/1.jpg", "ü" * 120 + "/2.jpg", "b/" + "x" * 150]
    if kind == "zip":
        whole = a_zip(tmp_path / "whole", dict.fromkeys(names, b"data" * 9)).read_bytes()
    else:
        tar_format = tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
        whole = a_tar(tmp_path / "whole", dict.fromkeys(names, b"data" * 9), tar_format=tar_format).read_bytes()[:6000]
    rng, path, refusals = random.Random(kind), tmp_path / "damaged", 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 5])):
            data[rng.randrange(len(data))] = rng.choice([0, 255, ord("9"), ord("-"), rng.randrange(256)])
        path.write_bytes(data)
        try:
            archive = open_archive(path, "The archive", 10**6)
            check_members(archive.members(), "The archive", 10**6, 100)
            for member, content in archive.contents(10**6):
                if member.kind == "file":
                    with content() as stream:
                        stream.read(1 << 20)
        except UserError:
            refusals += 1
    assert refusals > 50
