"""A storage in HDFS, through WebHDFS."""

from __future__ import annotations

import builtins
import errno
import io
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.storage.base import TEMPORARY, Blob, checked_path, is_under_way
from darkroom.storage.folder import save_stream
from darkroom.storage.streams import RangeReader
from darkroom.storage.webhdfs import Said, WebHdfs

_HTTP_PORT = 9870
_PLAIN = re.compile(r"[A-Za-z0-9._/=~-]*")


class HdfsStorage:
    """Blobs as files below hdfs://host:port/path.

    A write fills a file under a temporary name beside its target and renames it there in one step; a conditional
    create renames it there on condition that the name is free. Empty folders are removed with their last file.
    """

    def __init__(self, root: str, http: str = "", user: str = "") -> None:
        parts = urlsplit(root)
        folder = checked_path(parts.path.strip("/"), folder=True)
        if parts.scheme != "hdfs" or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise InvalidRequest(f"The address {root!r} cannot be opened. Expected hdfs://host:port/path.")
        if not _PLAIN.fullmatch(folder):
            raise InvalidRequest(
                f"The address {root!r} cannot be a lake: tables in HDFS need a path of plain letters, digits and "
                "'.', '_', '-', '=', '~'. Expected one such as hdfs://host:8020/data/lake."
            )
        self.root = f"hdfs://{parts.netloc}/{folder}".rstrip("/")
        self._folder = f"/{folder}".rstrip("/")
        self._to = WebHdfs(http or get_settings().hdfs_http or f"http://{parts.hostname}:{_HTTP_PORT}", user)

    @property
    def http(self) -> str:
        """The HTTP address that is spoken to."""
        return self._to.address

    def __repr__(self) -> str:
        return f"HdfsStorage({self.root!r}, {self._to.address!r}, {self._to.user!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HdfsStorage) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))

    def uri(self, path: str) -> str:
        path = checked_path(path, folder=True)
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        if limit == 0:
            self._present(path)
            return b""
        with self._told(path, "read"):
            return self._to.data(self._place(path), 0, limit)

    def open(self, path: str) -> BinaryIO:
        found = self._present(path)
        reader = RangeReader(partial(self._range, path, int(found["fileId"])), int(found["length"]))
        return cast(BinaryIO, io.BufferedReader(reader))

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        with self._told(path, "write"), self._filled(path, data) as (temporary, blob):
            self._to.rename(temporary, self._place(path), overwrite=True)
        return blob

    def create(self, path: str, data: bytes) -> bool:
        if self._status(path) is not None:
            return False
        with self._told(path, "create"), self._filled(path, data) as (temporary, _):
            if not (won := self._to.rename(temporary, self._place(path), overwrite=False)):
                self._discard(temporary)
            return won

    def stat(self, path: str) -> Blob | None:
        found = self._status(path)
        return None if found is None or found["type"] == "DIRECTORY" else _blob(path, found)

    def list(self, prefix: str = "") -> Iterator[Blob]:
        yield from self._walk(checked_path(prefix, folder=True))

    def folders(self, prefix: str = "") -> builtins.list[str]:
        entries = self._entries(checked_path(prefix, folder=True))
        return sorted(str(entry["pathSuffix"]) for entry in entries if entry["type"] == "DIRECTORY")

    def delete(self, path: str) -> None:
        place = self._place(path)
        with self._told(path, "delete"):
            while place != self._folder:
                try:  # a folder that is not empty stays, and so does one of the deleted file's name
                    self._to.ask("DELETE", "DELETE", place, recursive="false")
                except Said as said:
                    if said.kind == "PathIsNotEmptyDirectoryException" or said.absent:
                        return
                    raise
                place = place.rpartition("/")[0]

    def download(self, path: str, target: Path) -> None:
        with self.open(path) as stream:
            save_stream(stream, target)

    def unfinished(self) -> Iterator[Blob]:
        yield from self._walk("", unfinished=True)

    def discard(self, unfinished: Blob) -> None:
        with self._told(unfinished.path, "delete"):
            self._to.ask("DELETE", "DELETE", f"{self._folder}/{unfinished.path}", recursive="false")

    def delta_options(self) -> dict[str, str]:
        return {}

    def _place(self, path: str) -> str:
        return f"{self._folder}/{checked_path(path)}"

    def _status(self, path: str) -> dict[str, Any] | None:
        with self._told(path, "look at"):
            try:
                found: dict[str, Any] = self._to.ask("GET", "GETFILESTATUS", self._place(path))["FileStatus"]
            except Said as said:
                if said.absent:
                    return None
                raise
        return found

    def _present(self, path: str) -> dict[str, Any]:
        found = self._status(path)
        if found is None or found["type"] == "DIRECTORY":
            raise self._no_such_file(path)
        return found

    def _range(self, path: str, file: int, start: int, length: int) -> bytes:
        """A range of the very file that was opened, by its number, so that one that replaced it is never mixed in."""
        with self._told(path, "read"):
            try:
                return self._to.data(f"/.reserved/.inodes/{file}", start, length)
            except Said as said:
                if not said.absent:
                    raise
                raise StorageUnavailable(
                    f"{self.uri(path)} was replaced or deleted while it was read. Run it again."
                ) from None

    def _walk(self, prefix: str, *, unfinished: bool = False) -> Iterator[Blob]:
        """Depth first in the order of whole paths: a folder sorts as its name with a "/". One request a folder."""
        named = (
            (entry["pathSuffix"] + ("/" if entry["type"] == "DIRECTORY" else ""), entry)
            for entry in self._entries(prefix)
        )
        for name, entry in sorted(named, key=lambda pair: pair[0]):
            path = f"{prefix}/{entry['pathSuffix']}" if prefix else str(entry["pathSuffix"])
            if name.endswith("/"):
                yield from self._walk(path, unfinished=unfinished)
            elif is_under_way(path) == unfinished:
                yield _blob(path, entry)

    def _entries(self, prefix: str) -> builtins.list[dict[str, Any]]:
        """What is directly in a folder; nothing for a file or where there is nothing."""
        with self._told(prefix, "list"):
            try:
                found = self._to.ask("GET", "LISTSTATUS", f"{self._folder}/{prefix}".rstrip("/") or "/")
            except Said as said:
                if said.absent:
                    return []
                raise
        return [entry for entry in found["FileStatuses"]["FileStatus"] if entry["pathSuffix"]]

    @contextmanager
    def _filled(self, path: str, data: bytes | BinaryIO | Path) -> Iterator[tuple[str, Blob]]:
        """A temporary file beside ``path`` that holds the data, and what will be known of it; gone if this fails."""
        temporary = f"{self._place(path).rpartition('/')[0]}/{TEMPORARY}{uuid.uuid4().hex}"
        renamed = False
        try:
            self._to.fill(temporary, data)
            yield temporary, _blob(path, self._to.ask("GET", "GETFILESTATUS", temporary)["FileStatus"])
            renamed = True
        finally:
            if not renamed:
                self._discard(temporary)

    def _discard(self, place: str) -> None:
        with suppress(Said, DarkroomError):  # the error that led here says more; what stays is named by `lake check`
            self._to.ask("DELETE", "DELETE", place, recursive="false")

    def _no_such_file(self, path: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, "There is no such file in the lake", self.uri(path))

    @contextmanager
    def _told(self, path: str, action: str) -> Iterator[None]:
        """Turns what HDFS answers into one of our errors, and absence while reading into FileNotFoundError."""
        try:
            yield
        except Said as said:
            if action == "read" and said.absent:
                raise self._no_such_file(path) from None
            raise self._to.explained(action, f"{self.root}/{path}", said) from None


def _blob(path: str, found: dict[str, Any]) -> Blob:
    length, changed = int(found["length"]), int(found["modificationTime"])
    etag = f"{changed:x}-{length:x}-{int(found['fileId']):x}"
    return Blob(path, length, etag, datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=changed))
