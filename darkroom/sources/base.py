"""From any source into the lake: every file by its sha256 under raw/, then an index, then a receipt.

The index appears after the last blob and the receipt after the index, so a killed fetch leaves nothing that a later
step could see; blobs that it did store are found again and not written twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom import contract
from darkroom.errors import InvalidRequest, SourceError
from darkroom.storage import Storage

Progress = Callable[[str], None]

REPORT_SECONDS = 2.0  # between progress lines

_CHUNK = 1 << 20
_IN_MEMORY = 16 << 20  # bytes; larger files are spooled to disk on their way
_WRITERS = 4
_SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "$recycle.bin", "@eadir"})
_SHA256_DIGITS = 64


@dataclass(frozen=True)
class Entry:
    """A file of a source: its path inside the dataset, and how to open it for reading from its start."""

    path: str
    open: Callable[[], AbstractContextManager[BinaryIO]]


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


def known_result(lake: Storage, dataset: str, fingerprint: str) -> FetchResult | None:
    """What an earlier fetch of the same fingerprint left, when its receipt, its index and every blob are there."""
    try:
        receipt = json.loads(lake.read(contract.raw_receipt(dataset, fingerprint)))
    except FileNotFoundError:
        return None
    index_path = contract.raw_index(dataset, receipt["index_id"])
    if lake.stat(index_path) is None:
        return None
    indexed = pq.read_table(io.BytesIO(lake.read(index_path)), columns=["content_id"])["content_id"]
    if not {bytes.fromhex(content_id) for content_id in indexed.to_pylist()} <= _stored_blobs(dataset, lake):
        return None
    counts = {key: receipt[key] for key in ("index_id", "files", "bytes", "left_out")}
    return FetchResult(index_path=index_path, changed=False, **counts)


def remember(lake: Storage, dataset: str, fingerprints: tuple[str, ...], result: FetchResult, name: str) -> None:
    """Writes the receipts: the last step, and the one that makes the next fetch of the same bytes a no-op."""
    receipt = {**result.as_dict(), "source": name}
    del receipt["changed"]
    for fingerprint in fingerprints:
        lake.write(contract.raw_receipt(dataset, fingerprint), json.dumps(receipt, indent=1, sort_keys=True).encode())


def store(source: OpenedSource, dataset: str, lake: Storage, name: str, progress: Progress) -> FetchResult:
    """Copies every file of the source into the lake, then writes the index. ``name`` is how messages call it.

    Raises SourceError when there are no files, or when one path stands for two different contents.
    """
    rows: dict[str, tuple[str, int]] = {}
    for path, content_id, size in _copied(source, _BlobStore(dataset, lake), progress):
        if path in rows:
            source.left_out["listed twice"] += 1
            if rows[path][0] != content_id:
                raise SourceError(
                    f"{name} holds two different files under the path {path!r}. Paths must be unique (names that "
                    "differ only in how accents are encoded count as equal). Rename one of them."
                )
        rows[path] = (content_id, size)
    left_out = dict(sorted(source.left_out.items()))
    if not rows:
        shown = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "nothing"
        raise SourceError(f"{name} holds no files to take (left out: {shown}). Choose a place that holds images.")
    ordered = sorted(rows.items())
    index_id = contract.stable_hash([[path, content_id] for path, (content_id, _) in ordered])
    index_path = contract.raw_index(dataset, index_id)
    changed = lake.stat(index_path) is None
    if changed:
        lake.write(index_path, _parquet(dataset, ordered))
    return FetchResult(index_id, index_path, len(rows), sum(size for _, size in rows.values()), changed, left_out)


def _parquet(dataset: str, ordered: list[tuple[str, tuple[str, int]]]) -> bytes:
    columns = {
        "path": [path for path, _ in ordered],
        "content_id": [content_id for _, (content_id, _) in ordered],
        "size_bytes": [size for _, (_, size) in ordered],
        "uri": [contract.raw_blob(dataset, content_id) for _, (content_id, _) in ordered],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=contract.RAW_INDEX_SCHEMA), sink, compression="zstd")
    return sink.getvalue()


@dataclass(frozen=True)
class _Loaded:
    """A file that was read: its bytes, or for a large one a spooled stream at its start."""

    path: str
    content_id: str
    size: int
    data: bytes | IO[bytes]


def _stored_blobs(dataset: str, lake: Storage) -> set[bytes]:
    """The SHA-256 of every blob of the dataset."""
    folder = contract.raw_blob(dataset, "0" * _SHA256_DIGITS).rsplit("/", 2)[0]
    names = (blob.path.rsplit("/", 1)[1] for blob in lake.list(folder))
    return {bytes.fromhex(name) for name in names if len(name) == _SHA256_DIGITS}


class _BlobStore:
    """Writes blobs of one dataset, each once. Safe to use from several threads."""

    def __init__(self, dataset: str, lake: Storage) -> None:
        self._dataset, self._lake = dataset, lake
        self._lock = threading.Lock()
        self._known = _stored_blobs(dataset, lake)

    def keep(self, loaded: _Loaded) -> tuple[str, str, int]:
        digest = bytes.fromhex(loaded.content_id)
        with self._lock:
            new = digest not in self._known
            self._known.add(digest)
        if new:
            data = loaded.data if isinstance(loaded.data, bytes) else cast(BinaryIO, loaded.data)
            self._lake.write(contract.raw_blob(self._dataset, loaded.content_id), data)
        if not isinstance(loaded.data, bytes):
            loaded.data.close()
        return loaded.path, loaded.content_id, loaded.size


def _load(entry: Entry) -> _Loaded:
    with entry.open() as stream:
        data = stream.read(_IN_MEMORY)
        digest, size = hashlib.sha256(data), len(data)
        if size < _IN_MEMORY:
            return _Loaded(entry.path, digest.hexdigest(), size, data)
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed once it is in the lake)
        while data:
            spool.write(data)
            data = stream.read(_CHUNK)
            digest.update(data)
            size += len(data)
    spool.seek(0)
    return _Loaded(entry.path, digest.hexdigest(), size, spool)


def _copied(source: OpenedSource, blobs: _BlobStore, progress: Progress) -> Iterator[tuple[str, str, int]]:
    """(path, sha256, size) of every file once its blob is in the lake, in no particular order."""
    pending: set[Future[tuple[str, str, int]]] = set()
    report = _Report(progress)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="fetch") as pool:
        for entry in source.entries():
            entry = replace(entry, path=clean_path(entry.path))
            if source.concurrent:
                pending.add(pool.submit(lambda one: blobs.keep(_load(one)), entry))
            else:
                pending.add(pool.submit(blobs.keep, _load(entry)))
            if len(pending) >= 2 * _WRITERS:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield report.counted(future.result())
        for future in pending:
            yield report.counted(future.result())


class _Report:
    """A progress line now and then."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._files, self._bytes, self._told = progress, 0, 0, time.monotonic()

    def counted(self, row: tuple[str, str, int]) -> tuple[str, str, int]:
        self._files += 1
        self._bytes += row[2]
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self._told = time.monotonic()
            self._progress(f"{self._files:,} files, {self._bytes / 1e6:,.0f} MB stored")
        return row
