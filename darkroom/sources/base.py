"""What a source is, and what all of them share: entries, results, and how addresses and paths are read and shown."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from darkroom.errors import InvalidRequest

Progress = Callable[[str], None]

REPORT_SECONDS = 2.0  # between progress lines

_SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "$recycle.bin", "@eadir"})


@dataclass(frozen=True)
class Entry:
    """A file of a source: its path inside the dataset, and how to open it for reading from its start.

    With ``uri`` (absolute) and ``etag``, which changes with the content, the file stays where it is.
    """

    path: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    uri: str | None = None
    etag: str | None = None


class OpenedSource(Protocol):
    """A source that has been reached and checked as a whole.

    ``fingerprints`` name its bytes: equal fingerprints promise equal files. ``left_out`` counts, by reason, the files
    that ``entries`` does not yield; it is complete when ``entries`` is exhausted. ``concurrent``: entries may be opened
    and read in other threads, several at once; otherwise each is read before the next is asked for.
    """

    fingerprints: tuple[str, ...]
    left_out: Counter[str]
    concurrent: bool

    def entries(self) -> Iterator[Entry]: ...


class Reader(Protocol):
    """One kind of source, bound to its configuration.

    ``name`` is how messages call it (no passwords or keys in it). ``quick_fingerprint`` is what can be known of the
    bytes without fetching them; None when nothing can.
    """

    name: str

    def quick_fingerprint(self) -> str | None: ...

    def opened(self, progress: Progress) -> AbstractContextManager[OpenedSource]: ...


@dataclass(frozen=True)
class FetchResult:
    """What a fetch left in the lake. ``changed`` is False when the lake had it all already."""

    index_id: str
    index_path: str
    files: int
    bytes: int
    changed: bool
    left_out: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def is_system_file(path: str) -> bool:
    """True for files that an operating system leaves behind: hidden ones, __MACOSX/, Thumbs.db and their like."""
    return any(name.startswith(".") or name.lower() in _SYSTEM_NAMES for name in path.split("/"))


def clean_path(path: str) -> str:
    """The path as the index keeps it: composed Unicode (NFC), and no bytes that are no text."""
    return unicodedata.normalize("NFC", path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def local_path(address: str) -> Path | None:
    """The path of a plain path or file:// address; None for any other address."""
    if "://" not in address:
        return Path(os.path.abspath(os.path.expanduser(address)))
    try:
        parts = urlsplit(address)
    except ValueError as error:
        shown = without_login(address)
        raise InvalidRequest(f"The address {shown!r} is none ({error}). Expected a path or scheme://place.") from error
    if parts.scheme.lower() != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise InvalidRequest(
            f"The address {address!r} names the host {parts.netloc!r}. Expected file:///path, on this machine."
        )
    return Path(unquote(parts.path))


def without_login(address: str) -> str:
    """The address as messages may show it: no user, no password, no query."""
    if "://" not in address:
        return address
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    shown = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return shown.partition("#")[0].partition("?")[0]
