"""Is everything there that the lake says it has, as it was written, and what is there that nothing names?"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import TableSpec
from darkroom.errors import DarkroomError
from darkroom.lake_copy import digest_of
from darkroom.reader import in_place
from darkroom.storage import Blob, Storage
from darkroom.tables.log import Log
from darkroom.tables.retention import kept_from, named_files

_THREADS = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOG_FILE = re.compile(r"(\d{20}\.(json|checkpoint(\.\d+\.\d+)?\.parquet)|_last_checkpoint|\d{20}\.crc)")
_INDEX = re.compile(r"raw/[^/]+/index/[^/]+\.parquet")
_FREE_FOLDERS = ("reports", "inbox", "feedback", "quarantine", "jobs")
"""Folders in which any file is in its place."""

DAMAGED = ("missing", "wrong size", "wrong hash", "unreadable")
"""Kinds of findings that mean that something is lost; the others are leftovers."""


@dataclass(frozen=True)
class Finding:
    """One file that is not as it should be. ``kind``: one of DAMAGED, "leftover", or "unfinished"."""

    kind: str
    path: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.path} ({self.detail})"


@dataclass
class Checked:
    """What a check has seen: files, bytes, hashes that were compared, and what it found."""

    files: int = 0
    size: int = 0
    hashes: int = 0
    in_place: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        return any(finding.kind in DAMAGED for finding in self.findings)


class _Check:
    def __init__(self, lake: Storage) -> None:
        self.lake = lake
        self.there = {blob.path: blob for blob in lake.list()}
        self.named: set[str] = set()
        self.hashes: dict[str, str] = {}
        self.outside: set[int] = set()
        self.result = Checked(len(self.there), sum(blob.size for blob in self.there.values()))

    def find(self, kind: str, path: str, detail: str) -> None:
        self.result.findings.append(Finding(kind, path, detail))

    def want(self, path: str, by: str, size: int | None = None) -> None:
        """Notes that ``by`` names the file, and what is wrong with it as far as a listing shows."""
        if path in self.named:
            return
        self.named.add(path)
        found = self.there.get(path)
        if found is None:
            self.find("missing", path, f"named by {by}")
        elif size is not None and found.size != size:
            self.find("wrong size", path, f"{found.size} bytes, {size} by {by}")

    def tables(self) -> None:
        logs = {path.rpartition("/_delta_log/")[0] for path in self.there if "/_delta_log/" in path}
        for table in sorted(logs):
            try:
                self._table(table)
            except (DarkroomError, ValueError, KeyError) as error:
                self.find("unreadable", f"{table}/_delta_log", str(error).splitlines()[0])
        for path in sorted(self.there):
            if path.startswith("tables/") and path not in self.named:
                self.find("leftover", path, "no version of a table names it")

    def _table(self, table: str) -> None:
        log = Log(self.lake, TableSpec(table, pa.schema([]), (), ()))
        snapshot = log.open()
        if snapshot is None:
            self.find("unreadable", f"{table}/_delta_log", "it holds no version")
            return
        for file in snapshot.files({}):
            self.want(f"{table}/{file.path}", f"version {snapshot.version} of {table}", file.size)
        logged = {number: f"{table}/_delta_log/{number:020d}.json" for number in range(snapshot.version + 1)}
        for path in logged.values():
            self.want(path, f"the log of {table}")
        for path in [path for path in self.there if path.startswith(f"{table}/_delta_log/")]:
            if _LOG_FILE.fullmatch(path.rpartition("/")[2]):
                self.named.add(path)
        entries = log.entries(number for number, path in logged.items() if path in self.there)
        for name, (size, _) in named_files(entries, kept_from(entries)).items():
            self.want(f"{table}/{name}", f"a version of {table} that is kept", size)

    def raw(self) -> None:
        for path in sorted(path for path in self.there if _INDEX.fullmatch(path)):
            self.named.add(path)
            try:
                rows = _index(self.lake.read(path)).to_pylist()
            except (pa.ArrowException, OSError) as error:
                self.find("unreadable", path, str(error).splitlines()[0])
                continue
            for row in rows:
                if in_place(row["uri"]):
                    self.outside.add(hash(row["uri"]))
                    continue
                self.want(row["uri"], path, row["size_bytes"])
                self.hashes[row["uri"]] = row["content_id"]
        for path in sorted(path for path in self.there if re.fullmatch(r"raw/[^/]+/receipts/[^/]+\.json", path)):
            self.named.add(path)
            if (found := self._json(path)) is not None:
                self.want(str(found.get("index_path")), path)
        self.result.in_place = len(self.outside)

    def models(self) -> None:
        for path in sorted(path for path in self.there if path.startswith("champions/")):
            self.named.add(path)
            found = self._json(path)
            if found is not None and found.get("package"):
                self.want(str(found["package"]), path)
        for model in {path.split("/")[1] for path in self.there if path.startswith("champions/")}:
            numbers = [path.rpartition("/")[2] for path in self.there if path.startswith(f"champions/{model}/")]
            for number in range(1, len(numbers) + 1):
                self.want(f"champions/{model}/{number}.json", f"the history of {model}")
        for path in [path for path in self.there if re.fullmatch(r"packages/[^/]+/[0-9a-f]{64}\.zip", path)]:
            self.named.add(path)
            self.hashes[path] = path.rpartition("/")[2].removesuffix(".zip")

    def rest(self) -> None:
        for path in sorted(self.there):
            if path not in self.named and path.partition("/")[0] not in (*_FREE_FOLDERS, "tables"):
                self.find("leftover", path, "nothing names it")
                if _SHA256.fullmatch(name := path.rpartition("/")[2]):
                    self.hashes[path] = name
        for blob in self.lake.unfinished():
            self.find("unfinished", blob.path, f"a write of {blob.modified:%Y-%m-%d %H:%M} UTC, under way or killed")

    def compare(self, told: Callable[[int, int], None]) -> None:
        """Reads every file whose hash is known."""
        wanted = [self.there[path] for path in sorted(self.hashes) if path in self.there]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
            for blob, digest in zip(wanted, pool.map(self._digest, wanted), strict=True):
                self.result.hashes += 1
                if digest != (expected := self.hashes[blob.path]):
                    self.find("wrong hash", blob.path, f"SHA-256 {digest[:12]}, expected {expected[:12]}")
                told(self.result.hashes, len(wanted))

    def _digest(self, blob: Blob) -> str:
        return digest_of(self.lake, blob.path, blob.size)

    def _json(self, path: str) -> dict[str, object] | None:
        try:
            found = json.loads(self.lake.read(path))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self.find("unreadable", path, "it is no JSON object")
            return None
        return found


def _index(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """An index's rows, read without Arrow's threads: they may abort an interpreter that ends right afterwards."""
    return pq.ParquetFile(io.BytesIO(data)).read(columns=columns, use_threads=False)


def images_in_place(lake: Storage) -> int:
    """How many images the lake's indexes name whose bytes are elsewhere."""
    outside: set[int] = set()
    for blob in lake.list("raw"):
        if _INDEX.fullmatch(blob.path):
            uris = _index(lake.read(blob.path), ["uri"])["uri"].to_pylist()
            outside.update(hash(uri) for uri in uris if in_place(uri))
    return len(outside)


def check_lake(lake: Storage, told: Callable[[int, int], None], *, hashes: bool = True) -> Checked:
    """Compares the lake with what its logs, indexes, receipts and champions name.

    Every named file must be there with its size and, unless ``hashes`` is False, with its SHA-256 where one is known
    (raw images and model packages; ``told`` gets the number compared and of all). Files that nothing names, and writes
    under way or killed, are findings too.
    """
    check = _Check(lake)
    check.tables()
    check.raw()
    check.models()
    check.rest()
    if hashes:
        check.compare(told)
    check.result.findings.sort(key=lambda finding: (finding.kind not in DAMAGED, finding.kind, finding.path))
    return check.result
