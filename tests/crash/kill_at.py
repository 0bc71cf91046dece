"""Runs a Spark job whose driver, JVM and workers all die by SIGKILL at one point of it: name, occurrence, job, its own.

The points: "session up"; "half written", where a table's first Parquet file has half its bytes, in the process that
writes it; "before commit" and "after commit", around the log entry that makes rows visible.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil

import darkroom.storage.folder
from darkroom.settings import get_settings
from darkroom.storage import Blob, FolderStorage
from darkroom.tables.log import Log
from tests.crash.points import Recorder


class Killer(Recorder):
    """Ends the whole session of processes when a point is passed for the ``occurrence``-th time."""

    def __init__(self, point: str, occurrence: int) -> None:
        super().__init__(None)
        self.point = point
        self.occurrence = occurrence

    def hit(self, name: str) -> None:
        super().hit(name)
        if name == self.point and self.names.count(name) == self.occurrence:
            kill_session(os.getsid(0))


class HalvingStorage(FolderStorage):
    """A folder that goes with the job to its workers, and kills in the middle of the first Parquet file."""

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        if path.endswith(".parquet"):
            Killer("half written", 1).around_files(darkroom.storage.folder, "_opened_in_new_folder")
        return super().write(path, data)


def members(session: int) -> list[int]:
    """The processes of a session that still run. Spark's workers are a process group of their own in it."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def kill_session(session: int) -> None:
    """SIGKILL to every process of a session: its leader (the driver) first, this one last."""
    own = os.getpid()
    others = sorted(set(members(session)) - {own}, key=lambda pid: pid != session)
    for pid in [*others, *([own] if os.getsid(0) == session else [])]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def main(argv: Sequence[str]) -> int:
    point, occurrence, name, *arguments = argv
    job = importlib.import_module(f"spark_apps.jobs.{name}")
    if point == "half written":
        job.open_lake = lambda: HalvingStorage(get_settings().lake_uri)
    killer = Killer(point, int(occurrence))
    killer.around(Log, "commit")
    job.spark_session = _announced(job.spark_session, killer)
    code: int = job.main(arguments)
    return code


def _announced(real: Any, killer: Killer) -> Any:
    """``spark_session`` with a point where the session is up and has had no work yet."""

    @contextmanager
    def session(app_name: str) -> Iterator[Any]:
        opened: AbstractContextManager[Any] = real(app_name)
        with opened as spark:
            killer.hit("session up")
            yield spark

    return session


def launch() -> None:
    """Where the process starts: from an import, so that workers find the storage's class by its module."""
    sys.exit(main(sys.argv[1:]))
