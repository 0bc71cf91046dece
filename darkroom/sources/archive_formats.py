"""Zip and tar files as streams of members. What a member may be is decided in ``archive``; here it is only read.

The formats are guessed from the first bytes, never from the file's name.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Protocol, cast

from darkroom.errors import SourceError, StorageUnavailable

_BLOCK = 512  # bytes of a tar header
_LARGEST_READ = 64 << 20  # bytes; a tar header that asks for more would fill the memory
_CHUNK = 1 << 20
_LONGEST_TARGET = 4096  # bytes of a link's target that are read
_BROKEN = (  # what the libraries raise for damaged bytes, found by changing bytes at random
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    LookupError,
    OverflowError,
)

Content = Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Member:
    """What an archive says of one member. ``size`` is the declared one in bytes; ``target`` is a link's."""

    name: str
    kind: Literal["file", "folder", "link", "device"]
    size: int = 0
    target: str = ""
    hard: bool = False
    encrypted: bool = False


class Archive(Protocol):
    """Both iterations start anew at the first member."""

    def members(self) -> Iterator[Member]:
        """Every member, in the archive's order, without reading contents."""

    def contents(self, limit: int) -> Iterator[tuple[Member, Content]]:
        """Files and links with their contents, each to be read before the next is asked for.

        Raises SourceError, naming the member, for damaged contents and when more than ``limit`` bytes come out.
        """


def open_archive(path: Path, name: str, limit: int) -> Archive:
    """The archive in a file; what it is shows when it is read. ``limit``: the most bytes that unpacking may give."""
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _ZipArchive(path, name)
    unpackers: dict[bytes, Any] = {
        b"\x1f\x8b": gzip.GzipFile,
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\x00": lzma.LZMAFile,
    }
    unpack = next((kind for magic, kind in unpackers.items() if start.startswith(magic)), None)
    return _TarArchive(partial(unpack or Path.open, path, "rb"), name, limit)


class _ZipArchive:
    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def members(self) -> Iterator[Member]:
        with self._opened() as archive:
            for info in archive.infolist():
                yield self._member(archive, info)

    def contents(self, limit: int) -> Iterator[tuple[Member, Content]]:
        spent = _Spent(limit, self._name)
        with self._opened() as archive:
            for info in archive.infolist():
                member = self._member(archive, info)
                if member.kind in ("file", "link"):
                    yield member, partial(_metered, partial(archive.open, info), member, spent)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        expected = "Expected a complete zip file."
        with _explained(self._name, "the archive", expected), zipfile.ZipFile(self._path) as archive:
            yield archive

    def _member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
        mode = info.external_attr >> 16
        encrypted = bool(info.flag_bits & 0x1)
        if stat.S_ISLNK(mode):
            target = b""
            if not encrypted:
                with _explained(self._name, repr(info.filename)), archive.open(info) as stream:
                    target = stream.read(_LONGEST_TARGET)
            shown = target.decode("utf-8", "backslashreplace")
            return Member(info.filename, "link", info.file_size, shown, encrypted=encrypted)
        kind: Literal["file", "folder", "device"] = "folder" if info.is_dir() else "file"
        if stat.S_IFMT(mode) and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            kind = "device"
        return Member(info.filename, kind, info.file_size, encrypted=encrypted)


class _TarArchive:
    def __init__(self, opener: Callable[[], IO[bytes]], name: str, limit: int) -> None:
        self._opener, self._name, self._limit = opener, name, limit

    def members(self) -> Iterator[Member]:
        for member, _, _ in self._walk():
            yield member

    def contents(self, limit: int) -> Iterator[tuple[Member, Content]]:
        spent = _Spent(limit, self._name)
        for member, archive, info in self._walk():
            if member.kind in ("file", "link"):
                yield member, partial(_metered, partial(_extracted, archive, info), member, spent)

    def _walk(self) -> Iterator[tuple[Member, tarfile.TarFile, tarfile.TarInfo]]:
        """Member by member in one forward pass, forgetting those that are behind."""
        expected = "Expected a complete zip, tar, tar.gz, tar.bz2 or tar.xz file."
        with _explained(self._name, "the archive", expected), self._opener() as raw:
            guarded = _Guarded(raw, self._name, self._limit)
            with tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as archive:
                while (info := archive.next()) is not None:
                    yield _tar_member(info), archive, info
                    vars(archive)["members"].clear()  # what tarfile would keep of every member
            if guarded.last != bytes(_BLOCK):  # tarfile takes a cut or garbled header for the end of the archive
                raise EOFError("it ends without an end mark, so a part is missing")
            guarded.drain()  # only its end says whether a compressed stream is whole


def _tar_member(info: tarfile.TarInfo) -> Member:
    name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if info.islnk() or info.issym():
        target = info.linkname.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return Member(name, "link", 0, target, hard=info.islnk())
    if info.isdir():
        return Member(name, "folder")
    return Member(name, "file" if info.isreg() else "device", info.size)


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(info)
    if stream is None:
        raise tarfile.TarError("it has no content")
    return stream


class _Guarded:
    """A tar's stream that neither fills the memory nor runs on without end. ``last`` is what was read last."""

    def __init__(self, raw: IO[bytes], name: str, limit: int) -> None:
        self._raw, self._name = raw, name
        self._furthest = limit * 2 + (1 << 30)  # headers and padding come on top of the contents
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise SourceError(f"{self._name} is refused: one of its headers claims to be {size:,} bytes long.")
        self.last = self._raw.read(size)
        return self.last

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self._furthest:
            raise SourceError(f"{self._name} is refused: it unpacks to {position:,} bytes or more, beyond the limit.")
        return self._raw.seek(position, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def drain(self) -> None:
        while self.read(_CHUNK):
            self.seek(self.tell())


class _Spent:
    """Bytes that have come out of an archive."""

    def __init__(self, limit: int, name: str) -> None:
        self.limit, self.name, self.bytes = limit, name, 0


class _Metered:
    """A member's content, counted while it is read."""

    def __init__(self, stream: IO[bytes], member: Member, spent: _Spent) -> None:
        self._stream, self._member, self._spent, self._size = stream, member, spent, 0

    def read(self, size: int = -1) -> bytes:
        with _explained(self._spent.name, repr(self._member.name)):
            data = self._stream.read(size)
            self._size += len(data)
            self._spent.bytes += len(data)
            if self._spent.bytes > self._spent.limit:
                raise SourceError(
                    f"{self._spent.name} unpacks to more bytes than it declares, and than the limit of "
                    f"{self._spent.limit:,}, at its member {self._member.name!r}. Nothing of it shows. If you trust "
                    "it, raise DARKROOM_MAX_ARCHIVE_BYTES."
                )
            if len(data) < size and self._size != self._member.size:
                raise EOFError(f"{self._member.size:,} bytes are declared and {self._size:,} came out")
        return data


@contextmanager
def _metered(opener: Callable[[], IO[bytes]], member: Member, spent: _Spent) -> Iterator[BinaryIO]:
    with _explained(spent.name, repr(member.name)):
        stream = opener()
    with stream:
        yield cast(BinaryIO, _Metered(stream, member, spent))


@contextmanager
def _explained(name: str, what: str, expected: str = "") -> Iterator[None]:
    """Turns what the format libraries say of damaged bytes into a SourceError."""
    try:
        yield
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a header's odd offset
            raise StorageUnavailable(f"{name} cannot be read: {error.strerror}. Check the disk and rerun.") from error
        where = "" if what == "the archive" else f" at its member {what}"
        advice = expected or "Nothing of it shows."
        raise SourceError(f"{name} is damaged{where}: {error}. {advice} Fetch or pack it again.") from error
