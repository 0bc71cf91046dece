"""A zip or tar archive of images: checked whole, then streamed member by member; nothing is unpacked to disk.

The first pass reads every member's header (for a compressed tar that means the whole stream) and refuses the archive
as a whole when one member is unsafe. Declared sizes are not trusted: the second pass counts what really comes out.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.contract import stable_hash
from darkroom.errors import InvalidRequest, SourceError
from darkroom.settings import get_settings
from darkroom.sources.archive_formats import Member, open_archive
from darkroom.sources.base import Entry, OpenedSource, Progress, is_system_file, local_path, without_login
from darkroom.sources.config import ArchiveSource
from darkroom.sources.download import Download

_RULES = 1  # raise it when other members of an archive are taken than before
_CHUNK = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:/")


class ArchiveReader:
    """An archive at a path, a file:// or an http(s):// address."""

    def __init__(self, config: ArchiveSource) -> None:
        self._config = config
        self._path = local_path(config.url)
        self.name = f"The archive {without_login(config.url)}"
        if self._path is None and not config.url.lower().startswith(("http://", "https://")):
            raise InvalidRequest(f"{self.name} cannot be fetched. Expected a path, or a file://, http(s):// address.")

    def quick_fingerprint(self) -> str | None:
        if self._config.sha256:
            return of_content(self._config.sha256)
        if self._path is None:
            return self._download().remote_fingerprint()
        return _of_file(self._checked_file(self._path))

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[OpenedSource]:
        if self._path is not None:
            file = self._checked_file(self._path)
            yield self._checked(file, _of_file(file), progress)
            return
        download = self._download()
        with download.file(progress) as file:
            yield self._checked(file, download.fingerprint, progress)

    def _download(self) -> Download:
        settings = get_settings()
        return Download(self._config.url, settings.home / "downloads", settings.max_archive_bytes)

    def _checked_file(self, path: Path) -> Path:
        if path.is_dir():
            raise SourceError(f"{self.name} is a folder. Expected a zip or tar file. Use the folder source for it.")
        if not path.is_file():
            raise SourceError(f"{self.name} does not exist. Expected a zip or tar file. Correct the path.")
        return path

    def _checked(self, file: Path, quick: str | None, progress: Progress) -> OpenedSource:
        digest = sha256_of(file)
        if self._config.sha256 not in (None, digest):
            raise SourceError(
                f"{self.name} has the SHA-256 {digest}, but {self._config.sha256} was expected. The file is damaged or "
                "another one. Correct the checksum or the address."
            )
        fingerprints = (of_content(digest), *([quick] if quick else []))
        return CheckedArchive(file, self.name, fingerprints, progress)


class CheckedArchive:
    """An archive whose every member is safe to read."""

    concurrent = False

    def __init__(self, file: Path, name: str, fingerprints: tuple[str, ...], progress: Progress) -> None:
        settings = get_settings()
        self.fingerprints = fingerprints
        self.left_out: Counter[str] = Counter()
        self._name = name
        self._limit = settings.max_archive_bytes
        self._archive = open_archive(file, name, self._limit)
        files, size = check_members(self._archive.members(), name, self._limit, settings.max_archive_files)
        progress(f"{name}: {files:,} files, {size / 1e6:,.0f} MB unpacked, all safe to read")

    def entries(self) -> Iterator[Entry]:
        self.left_out.clear()
        for member, content in self._archive.contents(self._limit):
            path = clean_member_path(member.name)
            if member.kind == "link":
                self.left_out["links"] += 1
            elif is_system_file(path):
                self.left_out["system files"] += 1
            else:
                yield Entry(path, content)


def clean_member_path(name: str) -> str:
    """A member's path with "/" between names, without empty names and "."; ".." stays, to be found and refused."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def check_members(members: Iterable[Member], name: str, max_bytes: int, max_files: int) -> tuple[int, int]:
    """(files, their declared bytes), when every member is safe. Raises SourceError at the first that is not."""
    files = size = 0
    for count, member in enumerate(members, start=1):
        problem = _problem(member)
        if problem is None and not clean_member_path(member.name) and member.kind != "folder":
            problem = "has no name"
        if problem is not None:
            raise SourceError(
                f"{name} is refused, and nothing was taken from it: its member {member.name[:300]!r} {problem}. "
                "Pack the archive again without it."
            )
        files += member.kind == "file"
        size += member.size
        if size > max_bytes or count > max_files:
            found, limit, setting = (
                (f"{size:,} bytes", f"{max_bytes:,}", "DARKROOM_MAX_ARCHIVE_BYTES")
                if size > max_bytes
                else (f"{count:,} members", f"{max_files:,}", "DARKROOM_MAX_ARCHIVE_FILES")
            )
            raise SourceError(
                f"{name} is refused, and nothing was taken from it: it unpacks to {found} or more, and the limit is "
                f"{limit}. If you trust it, raise {setting}."
            )
    return files, size


def _problem(member: Member) -> str | None:
    """Why a member is unsafe; None when it is not."""
    path = member.name.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        return "has an absolute path"
    if ".." in path.split("/"):
        return "has '..' in its path"
    if member.kind == "device":
        return "is a device or another special file"
    if member.encrypted:
        return "is encrypted"
    if member.kind == "link":
        target = member.target.replace("\\", "/")
        base = "" if member.hard else posixpath.dirname(path)
        landed = posixpath.normpath(posixpath.join(base, target))
        if target.startswith("/") or _DRIVE.match(target) or landed == ".." or landed.startswith("../"):
            return f"is a link that leads out of the archive, to {member.target[:300]!r}"
    return None


def of_content(sha256: str) -> str:
    """The fingerprint of an archive with these bytes."""
    return stable_hash(["archive", _RULES, sha256], 32)


def _of_file(path: Path) -> str:
    state = path.stat()
    return stable_hash(["archive file", _RULES, str(path.resolve()), state.st_size, state.st_mtime_ns], 32)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
