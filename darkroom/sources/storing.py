"""From any source into the lake: every file by its sha256 under raw/, then an index, then a receipt.

The index appears after the last blob and the receipt after the index, so a killed fetch leaves nothing that a later
step could see; blobs that it did store are found again and not written twice. A file that stays in place has its
address and tag in the index instead of a blob.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom import contract
from darkroom.errors import SourceError, StorageUnavailable
from darkroom.reader import in_place
from darkroom.sources.base import REPORT_SECONDS, Entry, FetchResult, OpenedSource, Progress, clean_path
from darkroom.storage import Storage

_CHUNK = 1 << 20
_IN_MEMORY = 16 << 20  # bytes; larger files are spooled to disk on their way
_WRITERS = 4
_SHA256_DIGITS = 64

Stored = tuple[Entry, str, int]  # the entry, its SHA-256, its size in bytes


def known_result(lake: Storage, dataset: str, fingerprint: str) -> FetchResult | None:
    """What an earlier fetch of the same fingerprint left, when its receipt, its index and every blob are there."""
    try:
        receipt = json.loads(lake.read(contract.raw_receipt(dataset, fingerprint)))
    except FileNotFoundError:
        return None
    index_path = contract.raw_index(dataset, receipt["index_id"])
    if lake.stat(index_path) is None:
        return None
    indexed = pq.read_table(io.BytesIO(lake.read(index_path)), columns=["content_id", "uri"])
    copied = {bytes.fromhex(content_id) for content_id, uri in _rows(indexed) if not in_place(uri)}
    if copied and not copied <= _stored_blobs(dataset, lake):
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
    """Brings every file of the source into the lake or notes its place, then writes the index.

    ``name`` is how messages call the source. Raises SourceError when there are no files, or when one path stands for
    two different contents.
    """
    rows: dict[str, tuple[str, int, str, str | None]] = {}  # path -> what follows it in RAW_INDEX_SCHEMA
    for entry, content_id, size in _copied(source, dataset, lake, progress):
        path = entry.path
        if path in rows:
            source.left_out["listed twice"] += 1
            if rows[path][0] != content_id:
                raise SourceError(
                    f"{name} holds two different files under the path {path!r}. Paths must be unique (names that "
                    "differ only in how accents are encoded count as equal). Rename one of them."
                )
        rows[path] = (content_id, size, entry.uri or contract.raw_blob(dataset, content_id), entry.etag)
    left_out = dict(sorted(source.left_out.items()))
    if not rows:
        shown = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "nothing"
        raise SourceError(f"{name} holds no files to take (left out: {shown}). Choose a place that holds images.")
    ordered = [(path, *row) for path, row in sorted(rows.items())]
    # What is in the lake is named by its content alone; what stays in place by its address and tag too.
    index_id = contract.stable_hash([[*row[:2], *(row[3:] if row[4] else ())] for row in ordered])
    index_path = contract.raw_index(dataset, index_id)
    changed = lake.stat(index_path) is None
    if changed:
        lake.write(index_path, _parquet(ordered))
    return FetchResult(index_id, index_path, len(rows), sum(row[2] for row in ordered), changed, left_out)


def _parquet(ordered: list[tuple[str, str, int, str, str | None]]) -> bytes:
    columns = dict(zip(contract.RAW_INDEX_SCHEMA.names, zip(*ordered, strict=True), strict=True))
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=contract.RAW_INDEX_SCHEMA), sink, compression="zstd")
    return sink.getvalue()


def _hashed_before(dataset: str, lake: Storage) -> dict[tuple[str, str], tuple[str, int]]:
    """(address, tag) -> (SHA-256, size) of the files in place that the dataset's newest index holds."""
    blobs = lake.list(contract.raw_index(dataset, "").rpartition("/")[0])
    of_sources = (blob for blob in blobs if not blob.path.startswith(contract.feedback_indexes(dataset)))
    newest = max(of_sources, key=lambda blob: blob.modified, default=None)
    if newest is None:
        return {}
    table = pq.read_table(io.BytesIO(lake.read(newest.path)))
    if "etag" not in table.column_names:
        return {}
    rows = _rows(table.select(["uri", "etag", "content_id", "size_bytes"]))
    return {(uri, etag): (content_id, size) for uri, etag, content_id, size in rows if etag}


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


@dataclass(frozen=True)
class _Loaded:
    """A file that was read: its bytes, for a large one a spooled stream at its start, or None where it stays."""

    entry: Entry
    content_id: str
    size: int
    data: bytes | IO[bytes] | None


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

    def keep(self, loaded: _Loaded) -> Stored:
        if loaded.data is None:
            return loaded.entry, loaded.content_id, loaded.size
        digest = bytes.fromhex(loaded.content_id)
        with self._lock:
            new = digest not in self._known
            self._known.add(digest)
        if new:
            data = loaded.data if isinstance(loaded.data, bytes) else cast(BinaryIO, loaded.data)
            self._lake.write(contract.raw_blob(self._dataset, loaded.content_id), data)
        if not isinstance(loaded.data, bytes):
            loaded.data.close()
        return loaded.entry, loaded.content_id, loaded.size


def _load(entry: Entry) -> _Loaded:
    if entry.uri is not None:
        return _hashed(entry)
    with entry.open() as stream:
        data = stream.read(_IN_MEMORY)
        digest, size = hashlib.sha256(data), len(data)
        if size < _IN_MEMORY:
            return _Loaded(entry, digest.hexdigest(), size, data)
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed once it is in the lake)
        while data:
            _spool(spool, data, entry.path)
            data = stream.read(_CHUNK)
            digest.update(data)
            size += len(data)
    spool.seek(0)
    return _Loaded(entry, digest.hexdigest(), size, spool)


def _spool(spool: IO[bytes], data: bytes, path: str) -> None:
    try:
        spool.write(data)
        spool.flush()
    except OSError as error:
        spool.close()
        raise StorageUnavailable(
            f"The large file {path} could not be kept for a moment in {tempfile.gettempdir()}: {error.strerror}. "
            "Free some space there, or set TMPDIR to a folder that has room, and run it again."
        ) from error


def _hashed(entry: Entry) -> _Loaded:
    digest, size = hashlib.sha256(), 0
    with entry.open() as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
            size += len(data)
    return _Loaded(entry, digest.hexdigest(), size, None)


def _copied(source: OpenedSource, dataset: str, lake: Storage, progress: Progress) -> Iterator[Stored]:
    """Every file once its blob is in the lake, in no particular order."""
    blobs = _BlobStore(dataset, lake)
    before: dict[tuple[str, str], tuple[str, int]] | None = None
    pending: set[Future[Stored]] = set()
    report = _Report(progress)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="fetch") as pool:
        for entry in source.entries():
            entry = replace(entry, path=clean_path(entry.path))
            if entry.uri and entry.etag:
                before = _hashed_before(dataset, lake) if before is None else before
                if known := before.get((entry.uri, entry.etag)):
                    yield report.counted((entry, *known))
                    continue
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

    def counted(self, row: Stored) -> Stored:
        self._files += 1
        self._bytes += row[2]
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self._told = time.monotonic()
            self._progress(f"{self._files:,} files, {self._bytes / 1e6:,.0f} MB stored")
        return row
