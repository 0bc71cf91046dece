"""A storage in a local (or mounted) folder."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.storage.base import TEMPORARY, Blob, checked_path, is_under_way

_CHUNK = 1 << 20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_WRONG_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL)
ADVICE = {
    errno.ENOSPC: "The disk is full. Free some space and run it again.",
    errno.EDQUOT: "The disk quota is used up. Free some space and run it again.",
    errno.EROFS: "The file system is read-only. Point DARKROOM_LAKE to a folder that can be written.",
    errno.EACCES: "Give this user the right to it, or point DARKROOM_LAKE to another folder.",
}


class FolderStorage:
    """Blobs as plain files. Safe against killed processes and racing writers on one file system.

    A write fills a file under a temporary name beside its target and renames it there; a conditional create links
    it there, which fails when the name is taken. Empty folders are removed with their last file, as an object
    store has none either.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = os.path.abspath(os.path.expanduser(os.fspath(root)))

    def __repr__(self) -> str:
        return f"FolderStorage({self.root!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderStorage) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def uri(self, path: str) -> str:
        path = checked_path(path, folder=True)
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        with self.open(path) as stream, self._told(path, "read"):
            return stream.read(-1 if limit is None else limit)

    def open(self, path: str) -> BinaryIO:
        with self._told(path, "read"):
            try:
                return open(self.uri(checked_path(path)), "rb")
            except (IsADirectoryError, NotADirectoryError, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "There is no such file in the lake", self.uri(path)) from None

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        target = self.uri(checked_path(path))
        with self._told(path, "write"), self._filled(target, data) as temporary:
            os.replace(temporary, target)
            found = os.stat(target)
        return _blob(path, found)

    def create(self, path: str, data: bytes) -> bool:
        target = self.uri(checked_path(path))
        if os.path.lexists(target):
            return False
        with self._told(path, "write"), self._filled(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        return True

    def stat(self, path: str) -> Blob | None:
        with self._told(path, "read"):
            try:
                found = os.stat(self.uri(checked_path(path)))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if _is_folder(found) else _blob(path, found)

    def list(self, prefix: str = "") -> Iterator[Blob]:
        prefix = checked_path(prefix, folder=True)
        with self._told(prefix, "list"):
            yield from self._walk(prefix, ())

    def folders(self, prefix: str = "") -> builtins.list[str]:
        prefix = checked_path(prefix, folder=True)
        with self._told(prefix, "list"):
            return sorted(entry.name for entry in _entries(self.uri(prefix)) if entry.is_dir())

    def delete(self, path: str) -> None:
        target = self.uri(checked_path(path))
        with self._told(path, "delete"):
            try:
                os.unlink(target)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            parent = os.path.dirname(target)
            with suppress(OSError):  # a folder that is not empty, or that another process has just removed, stays
                while parent != self.root:
                    os.rmdir(parent)
                    parent = os.path.dirname(parent)

    def download(self, path: str, target: Path) -> None:
        with self.open(path) as stream:
            save_stream(stream, target)

    def unfinished(self) -> Iterator[Blob]:
        with self._told("", "list"):
            for folder, _, names in os.walk(self.root):
                for name in names:
                    place = os.path.join(folder, name)
                    if is_under_way(path := os.path.relpath(place, self.root)):
                        with suppress(FileNotFoundError):  # finished since
                            yield _blob(path, os.stat(place))

    def discard(self, unfinished: Blob) -> None:
        with self._told(unfinished.path, "delete"), suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, unfinished.path))

    def delta_options(self) -> dict[str, str]:
        return {}

    def _walk(self, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Blob]:
        """Depth first in the order of whole paths: a folder sorts as its name with a "/"."""
        folder = self.uri(prefix)
        try:
            here = os.stat(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        identity = (here.st_dev, here.st_ino)
        if not _is_folder(here) or identity in above:  # a link back to a folder above would never end
            return
        named = ((entry.name + "/" if entry.is_dir() else entry.name, entry) for entry in _entries(folder))
        for name, entry in sorted(named, key=lambda pair: pair[0]):
            path = f"{prefix}/{entry.name}" if prefix else entry.name
            if name.endswith("/"):
                yield from self._walk(path, (*above, identity))
                continue
            if is_under_way(path):
                continue
            with suppress(FileNotFoundError):  # deleted since the folder was read, or a link to nothing
                yield _blob(path, entry.stat())

    @contextmanager
    def _filled(self, target: str, data: bytes | BinaryIO | Path) -> Iterator[str]:
        """A temporary file beside ``target`` that holds the data; gone afterwards, whatever happens."""
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            with _opened_in_new_folder(temporary) as stream:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, stream, _CHUNK)
                elif isinstance(data, bytes | bytearray | memoryview):
                    stream.write(data)
                else:
                    shutil.copyfileobj(data, stream, _CHUNK)
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    @contextmanager
    def _told(self, path: str, action: str) -> Iterator[None]:
        """Turns what the operating system says into one of our errors."""
        try:
            yield
        except (FileNotFoundError, DarkroomError):
            raise
        except OSError as error:
            raise _explained(error, action, f"{self.root}/{path}") from error


def save_stream(stream: BinaryIO, target: Path) -> None:
    """Copies a stream to a local file, which appears complete or not at all."""
    temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        with _opened_in_new_folder(str(temporary)) as file:
            shutil.copyfileobj(stream, file, _CHUNK)
        os.replace(temporary, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _explained(error, "write", str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _opened_in_new_folder(path: str) -> BinaryIO:
    """A new file; its folder is made first, again if a deletion next door has just removed it."""
    attempts = 20
    while True:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            return open(path, "xb")
        except FileNotFoundError:
            attempts -= 1
            if not attempts:
                raise


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(TEMPORARY)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(found: os.stat_result) -> bool:
    return found.st_mode & 0o170000 == 0o040000


def _blob(path: str, found: os.stat_result) -> Blob:
    etag = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return Blob(path, found.st_size, etag, datetime.fromtimestamp(found.st_mtime, UTC))


def _explained(error: OSError, action: str, where: str) -> DarkroomError:
    reason = error.strerror or str(error)
    if error.errno in _WRONG_PATH:
        return InvalidRequest(
            f"Could not {action} {where}: {reason}. A file and a folder cannot share a name, and a name has at most "
            "255 bytes. Use another path."
        )
    if action == "write" and error.errno in _NO_LINKS:
        advice = "The file system cannot link files, which a conditional create needs. Use another."
    else:
        advice = ADVICE.get(error.errno or 0, "Check the disk behind it and run it again.")
    return StorageUnavailable(f"Could not {action} {where}: {reason}. {advice} Nothing was left half-written.")
