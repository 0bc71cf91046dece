"""Kill points: every call that a write makes on the way to its storage, and a real SIGKILL at any one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import urllib3
from deltalake import DeltaTable

import darkroom.storage.folder
import darkroom.tables.log
from darkroom.storage import Storage
from tests.crash.messages import killed_at_message
from tests.crash.writes import WRITES
from tests.suites.forks import forks

_ENOUGH_SECONDS = 120


class Recorder:
    """Counts the calls of a write, and dies at one of them by SIGKILL, as a process that is out of memory does."""

    def __init__(self, kill_at: int | None) -> None:
        self.names: list[str] = []
        self.kill_at = kill_at

    def hit(self, name: str) -> None:
        self.names.append(name)
        if self.kill_at == len(self.names) - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Points before and after each call of ``owner.name``."""
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.hit(f"before {name}")
            result = real(*arguments, **options)
            self.hit(f"after {name}")
            return result

        setattr(owner, name, call)

    def around_files(self, owner: Any, name: str) -> None:
        """Points after a file was opened, and before, in the middle of and after each write to it."""
        real: Callable[[str], BinaryIO] = getattr(owner, name)

        def opened(path: str) -> Any:
            stream = real(path)
            self.hit("after open")
            return _Halves(stream, self)

        setattr(owner, name, opened)


class _Halves:
    """A file that is written in halves, with a point between them."""

    def __init__(self, stream: BinaryIO, recorder: Recorder) -> None:
        self._stream = stream
        self._recorder = recorder

    def __enter__(self) -> _Halves:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._recorder.hit("before write")
        self._stream.write(data[:half])
        self._stream.flush()
        self._recorder.hit("half written")
        self._stream.write(data[half:])
        self._stream.flush()
        self._recorder.hit("after write")
        return len(data)


@dataclass(frozen=True)
class Outcome:
    """How a process ended: by SIGKILL or not, and the points that it passed when it was not killed."""

    killed: bool
    names: tuple[str, ...]


@dataclass(frozen=True)
class Inside:
    """Where a commit is killed: that many ``seconds`` after it began, or at that ``message`` to or from the server."""

    seconds: float = 0
    message: int | None = None


def run(write: str, storage: Storage, *, kill_at: int | None = None, inside: Inside | None = None) -> Outcome:
    """Does the write in a forked process, which dies at point ``kill_at`` or ``inside`` its commit."""
    context = forks()
    near, far = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(write, storage, kill_at, inside, far))
    process.start()
    far.close()
    names: tuple[str, ...] = ()
    try:
        if near.poll(_ENOUGH_SECONDS):
            names = near.recv()
    except EOFError:
        names = ()
    process.join(_ENOUGH_SECONDS)
    killed = process.exitcode in (-signal.SIGKILL, -signal.SIGALRM)
    if not killed and process.exitcode != 0:
        raise AssertionError(f"The write {write!r} ended with exit code {process.exitcode}, killed at {kill_at}.")
    return Outcome(killed, names)


def _work(write: str, storage: Storage, kill_at: int | None, inside: Inside | None, pipe: Any) -> None:
    recorder = Recorder(kill_at)
    for name in ("replace", "link", "unlink"):
        recorder.around(os, name)
    recorder.around_files(darkroom.storage.folder, "_opened_in_new_folder")
    recorder.around(urllib3.PoolManager, "urlopen")
    if inside is not None:
        begin, end = partial(_end_in, inside.seconds), partial(signal.setitimer, signal.ITIMER_REAL, 0)
        if inside.message is not None:
            storage, begin, end = killed_at_message(storage, inside.message)
        _around(darkroom.tables.log, "create_table_with_add_actions", begin, end)
        _around(DeltaTable, "create_write_transaction", begin, end)
    recorder.around(darkroom.tables.log, "create_table_with_add_actions")
    recorder.around(DeltaTable, "create_write_transaction")
    WRITES[write].act(storage)
    pipe.send(tuple(recorder.names))


def _end_in(seconds: float) -> None:
    """The kernel ends the process that much later, wherever it is then: no handler, no clean-up."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _around(owner: Any, name: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
    real = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        begin()
        result = real(*arguments, **options)
        end()
        return result

    setattr(owner, name, call)
