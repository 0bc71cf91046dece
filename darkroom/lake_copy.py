"""A lake copied to another place: in an order that readers of the copy survive, every file verified, resumable.

What names other files comes after them: data, then indexes, then the tables' logs entry by entry, then receipts and
champions. A copy that was cut off therefore shows whole older states only. Nothing at the target is ever deleted.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, cast

from darkroom.contract import stable_hash
from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.storage import Blob, Storage

_THREADS = 8
_IN_MEMORY = 8 << 20
_CHUNK = 1 << 20


@dataclass
class Copied:
    """How far a copy is: files and bytes in all, of these done, and of those found there already."""

    files: int = 0
    size: int = 0
    done: int = 0
    done_size: int = 0
    found: int = 0


@dataclass
class _Journal:
    """What this machine has copied and verified: a line a file, with the tags that it had on both sides."""

    file: Path
    known: dict[str, list[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                try:
                    path, *tags = json.loads(line)
                except ValueError:
                    continue  # cut off in the middle by a kill: that file is compared anew
                self.known[path] = tags

    def holds(self, blob: Blob, there: Blob) -> bool:
        return self.known.get(blob.path) == [blob.etag, there.etag]

    def add(self, blob: Blob, there: Blob) -> None:
        with self._lock, self.file.open("a") as file:
            file.write(f"\n{json.dumps([blob.path, blob.etag, there.etag])}")


def copy_lake(source: Storage, target: Storage, journals: Path, told: Callable[[Copied], None]) -> Copied:
    """Copies every file of ``source`` that ``target`` lacks or has differently, and verifies each by SHA-256.

    What an earlier, cut off copy brought over is not sent again: the journal in the folder ``journals`` knows it, and
    without the journal both sides are read and compared. ``told`` is called after each file, from several threads.

    Raises InvalidRequest when the target holds another lake's tables or champions, StorageUnavailable when a file
    changed while it was copied or arrived differently.
    """
    if source == target:
        raise InvalidRequest(f"The lake {source.root} cannot be copied to itself. Name another place.")
    journal = _Journal(journals / f"{stable_hash([source.root, target.root])}.jsonl")
    blobs = list(source.list())
    there = {blob.path: blob for blob in target.list()}
    _refuse_another_history(source, target, blobs, there, journal)
    progress = Copied(len(blobs), sum(blob.size for blob in blobs))
    lock = threading.Lock()

    def bring(group: list[Blob]) -> None:
        for blob in group:
            found = _brought(source, target, blob, there.get(blob.path), journal)
            with lock:
                progress.done += 1
                progress.done_size += blob.size
                progress.found += found
                told(progress)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="copy") as pool:
        for stage in _stages(blobs):
            jobs = [pool.submit(bring, group) for group in stage]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
    return progress


def _stages(blobs: Iterable[Blob]) -> Iterator[list[list[Blob]]]:
    """Groups of files that go together, stage by stage; the files of a group go one after the other."""
    ordered = sorted(blobs, key=lambda blob: (_stage(blob.path), blob.path))
    for stage, members in groupby(ordered, key=lambda blob: _stage(blob.path)):
        if stage == 2:
            logs = groupby(members, key=lambda blob: blob.path.rpartition("/")[0])
            # A table's newest checkpoint is named by _last_checkpoint, which sorts behind the entries.
            yield [list(log) for _, log in logs]
        else:
            yield [[blob] for blob in members]


def _stage(path: str) -> int:
    folders = path.split("/")
    if "_delta_log" in folders:
        return 2
    if folders[0] == "champions" or (folders[0] == "raw" and "receipts" in folders):
        return 3
    return 1 if folders[0] == "raw" and "index" in folders else 0


def _refuse_another_history(
    source: Storage, target: Storage, blobs: list[Blob], there: dict[str, Blob], journal: _Journal
) -> None:
    """Log entries and champions are written once: if the target has another one of a name, it is another lake."""
    for blob in blobs:
        found = there.get(blob.path)
        if found is None or not _written_once(blob.path) or journal.holds(blob, found):
            continue
        if found.size != blob.size or source.read(blob.path) != target.read(blob.path):
            raise InvalidRequest(
                f"{target.root} already holds another history: {blob.path} differs from the one in {source.root}. "
                "Nothing was copied. Copy to an empty place."
            )


def _written_once(path: str) -> bool:
    return path.endswith(".json") and ("/_delta_log/" in path or path.startswith("champions/"))


def _brought(source: Storage, target: Storage, blob: Blob, there: Blob | None, journal: _Journal) -> bool:
    """Copies and verifies one file. True when it was there already."""
    if there is not None and there.size == blob.size:
        if journal.holds(blob, there):
            return True
        if _digest(source, blob) == _digest(target, there):
            journal.add(blob, there)
            return True
    try:
        digest, written = _sent(source, target, blob)
    except FileNotFoundError:
        raise StorageUnavailable(
            f"{source.uri(blob.path)} was deleted while the lake was copied. Run it again."
        ) from None
    if written.size != blob.size:
        raise StorageUnavailable(f"{source.uri(blob.path)} changed while it was copied. Run it again.")
    if _digest(target, written) != digest:
        raise StorageUnavailable(f"{target.uri(blob.path)} is not what was sent there. Run it again.")
    journal.add(blob, written)
    return False


def _sent(source: Storage, target: Storage, blob: Blob) -> tuple[str, Blob]:
    if blob.size <= _IN_MEMORY:
        data = source.read(blob.path)
        return hashlib.sha256(data).hexdigest(), target.write(blob.path, data)
    with source.open(blob.path) as stream:
        hashed = _Hashed(stream)
        written = target.write(blob.path, cast(BinaryIO, hashed))
        return hashed.digest.hexdigest(), written


def _digest(storage: Storage, blob: Blob) -> str:
    return digest_of(storage, blob.path, blob.size)


def digest_of(storage: Storage, path: str, size: int) -> str:
    """SHA-256 of a file of about ``size`` bytes, as hex digits. Raises FileNotFoundError when it is absent."""
    if size <= _IN_MEMORY:
        return hashlib.sha256(storage.read(path)).hexdigest()
    digest = hashlib.sha256()
    with storage.open(path) as stream:
        while data := stream.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


class _Hashed:
    """A stream whose bytes are hashed as they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.digest.update(data)
        return data


def journals_folder(home: Path) -> Path:
    """Where journals of copies are kept on this machine."""
    return home / "copies"
