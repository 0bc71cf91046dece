"""A folder of images, on a disk or an object store."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from darkroom.contract import stable_hash
from darkroom.errors import SourceError, StorageUnavailable
from darkroom.sources.base import Entry, OpenedSource, Progress, is_system_file, local_path, without_login
from darkroom.sources.config import FolderSource
from darkroom.storage import Storage, open_storage

_RULES = 1  # raise it when other files of a folder are taken than before

Found = tuple[str, int, str]  # path, size in bytes, tag that changes with the content
Opener = Callable[[Found], AbstractContextManager[BinaryIO]]


class FolderReader:
    """Takes every file below the folder, whatever its kind: what is no image becomes a row that says so.

    In place, the files are read once for their SHA-256 and stay where they are.
    """

    def __init__(self, config: FolderSource) -> None:
        self._uri, self._in_place = config.uri, config.in_place
        self.name = f"The folder {without_login(config.uri)}"

    def quick_fingerprint(self) -> str | None:
        return self._listed().fingerprints[0]

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[OpenedSource]:
        listed = self._listed()
        progress(f"{self.name}: {len(listed.found):,} files")
        yield listed

    def _listed(self) -> _Listing:
        local = local_path(self._uri)
        listed = _local_listing(local, self.name) if local is not None else _remote_listing(self._uri, self.name)
        return _InPlace(listed) if self._in_place else listed


class _Listing:
    """A folder as it was when it was listed."""

    concurrent = True
    kind = "folder"

    def __init__(self, root: str, found: list[Found], left_out: Counter[str], opener: Opener) -> None:
        self.root, self.found, self.left_out, self.opener = root, sorted(found), left_out, opener
        self.fingerprints: tuple[str, ...] = (stable_hash([self.kind, _RULES, root, self.found], 32),)

    def entries(self) -> Iterator[Entry]:
        for found in self.found:
            yield Entry(found[0], partial(self.opener, found))


class _InPlace(_Listing):
    """The same folder, whose files are not copied. Names that no address can hold are left out."""

    kind = "folder in place"

    def __init__(self, listed: _Listing) -> None:
        self._below = f"{listed.root.rstrip('/')}/"
        told = [found for found in listed.found if "\\" not in self._below + found[0]]  # as no valid text is shown too
        left_out = listed.left_out + Counter({"names that cannot be addressed": len(listed.found) - len(told)})
        super().__init__(listed.root, told, left_out, listed.opener)

    def entries(self) -> Iterator[Entry]:
        for found in self.found:
            path, size, tag = found
            yield Entry(path, partial(self.opener, found), self._below + path, f"{tag}-{size}")


def _remote_listing(uri: str, name: str) -> _Listing:
    storage = open_storage(uri)
    left_out: Counter[str] = Counter()
    found: list[Found] = []
    for blob in storage.list():
        if is_system_file(blob.path):
            left_out["system files"] += 1
        else:
            found.append((blob.path, blob.size, blob.etag))
    return _Listing(storage.root, found, left_out, partial(_open_remote, storage, name))


@contextmanager
def _open_remote(storage: Storage, name: str, found: Found) -> Iterator[BinaryIO]:
    path, size, tag = found
    try:
        stream = storage.open(path)
    except FileNotFoundError as error:
        raise _changed(name, path) from error
    with stream:
        yield stream
    after = storage.stat(path)
    if after is None or (after.size, after.etag) != (size, tag):
        raise _changed(name, path)


def _local_listing(folder: Path, name: str) -> _Listing:
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SourceError(f"{name} {kind}. Expected a folder of images. Correct the path.")
    root = folder.resolve()
    left_out: Counter[str] = Counter()
    # Names that are no valid text get an escaped path, so that the index can hold it; the file is opened by its own.
    files = {_as_text(path): path for path in _walk(root, "", name, left_out)}
    found = []
    for shown, path in files.items():
        state = os.stat(root / path)
        found.append((shown, state.st_size, str(state.st_mtime_ns)))
    return _Listing(str(root), found, left_out, partial(_open_local, root, files, name))


def _walk(root: Path, folder: str, name: str, left_out: Counter[str]) -> Iterator[str]:
    try:
        with os.scandir(root / folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(name, _as_text(folder) or ".", error) from error
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if is_system_file(entry.name):
            left_out["system files"] += 1
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, name, left_out)
        elif (reason := _refused(root, entry)) is not None:
            left_out[reason] += 1
        else:
            yield path


def _refused(root: Path, entry: os.DirEntry[str]) -> str | None:
    """Why a directory entry is not taken; None when it is."""
    if entry.is_symlink():
        if not Path(os.path.realpath(entry.path)).is_relative_to(root):
            return "links out of the folder"
        if not os.path.exists(entry.path):
            return "links to nothing"
        if entry.is_dir():
            return "links to folders"
    return None if stat.S_ISREG(entry.stat().st_mode) else "special files"


@contextmanager
def _open_local(root: Path, files: dict[str, str], name: str, found: Found) -> Iterator[BinaryIO]:
    path, size, tag = found
    try:
        stream = (root / files[path]).open("rb")
    except FileNotFoundError as error:
        raise _changed(name, path) from error
    except OSError as error:
        raise _unreadable(name, path, error) from error
    with stream:
        yield stream
        after = os.fstat(stream.fileno())
    if (after.st_size, str(after.st_mtime_ns)) != (size, tag):
        raise _changed(name, path)


def _unreadable(name: str, path: str, error: OSError) -> SourceError:
    return SourceError(f"{name}: {path!r} cannot be read ({error.strerror}). Give this user the right to read it.")


def _changed(name: str, path: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{name}: {path!r} changed while it was being read. Nothing of this attempt shows; run it again once no one "
        "writes to the folder."
    )


def _as_text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
