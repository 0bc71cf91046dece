"""What a fit in Spark's workers tells while it goes on, carried to the driver by the lake: its log lines and its steps.

An object store cannot append, so each attempt at a fit has one small object, which is written anew with all that was
said so far. That is a courtesy: a fit goes on without it, and whatever was not heard of it comes with its result.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom.errors import DarkroomError
from darkroom.storage import Storage
from training.kinds import Job

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds from one write to the next, and from one look to the next


class Said(BaseModel):
    """All that one attempt at a fit has said: lines of its log with their levels, steps with their metrics."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    attempt: int  # Spark's number of the task
    lines: list[tuple[int, str]] = []
    steps: list[tuple[int, dict[str, float]]] = []

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """An ``on_step`` that notes it."""
        self.steps.append((int(step), {name: float(value) for name, value in values.items()}))


@contextmanager
def telling(lake: Storage, folder: str) -> Iterator[Said]:
    """In a task of Spark: what it says from here on, which goes on to ``folder`` with the lines of training's loggers.

    The last of it is not written unless an error passes: the caller hands it over with the result.
    """
    from pyspark import TaskContext

    task = TaskContext.get()
    assert task is not None
    said = Said(attempt=task.taskAttemptId())
    writer = _Writer(lake, f"{folder}/{said.attempt:012}.json", said)
    lines, loggers = Lines(said), logging.getLogger(__name__.partition(".")[0])
    loggers.addHandler(lines)
    writer.start()
    try:
        yield said
    except BaseException:
        writer.stop()
        writer.write()
        raise
    finally:
        writer.stop()
        loggers.removeHandler(lines)


class Lines(logging.Handler):
    """Notes what is logged."""

    def __init__(self, said: Said) -> None:
        super().__init__()
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode(errors="replace").decode()  # JSON takes no halves of characters
            self.said.lines.append((record.levelno, line))
        except Exception:  # noqa: BLE001 - as every handler does: a line that cannot be made ends no work
            self.handleError(record)


class _Writer(threading.Thread):
    def __init__(self, lake: Storage, path: str, said: Said) -> None:
        super().__init__(daemon=True)
        self.lake, self.path, self.said = lake, path, said
        self.ended = threading.Event()
        self.written = 0
        self.failed = False

    def run(self) -> None:
        while not self.ended.wait(EVERY):
            self.write()

    def stop(self) -> None:
        self.ended.set()
        self.join()

    def write(self) -> None:
        size = len(self.said.lines) + len(self.said.steps)
        if size == self.written:
            return
        try:
            self.lake.write(self.path, self.said.model_dump_json().encode())
            self.written = size
        except Exception as error:  # noqa: BLE001 - no fit ends for it: its result brings the same
            if not self.failed:
                log.warning("Its progress cannot be told while it goes on: %s", error)
            self.failed = True


class Listener:
    """In the driver: logs each line of a fit, and calls the job's own ``on_step`` for each step, both once.

    ``folder`` of the job's lake is where its attempts tell them. An attempt after the first one tells all its lines,
    as it does all the work again, and only the steps that no earlier one came to.
    """

    def __init__(self, job: Job, key: Any) -> None:
        self.job = job
        self.key = key
        # What a killed driver leaves there goes by the vacuum's retention.
        self.folder = f"jobs/fits/{uuid.uuid4().hex}"
        self.lines: dict[int, int] = {}  # how many were heard of each attempt
        self.steps = 0
        self.seen: dict[str, str] = {}  # etags
        self.failed = False

    def listen(self) -> None:
        """Tells what is new on the lake. What goes wrong with that is logged the first time, and tried again."""
        lake = self.job.lake
        try:
            for blob in lake.list(self.folder):
                if self.seen.get(blob.path) != blob.etag:
                    self.hear(Said.model_validate_json(lake.read(blob.path)))
                    self.seen[blob.path] = blob.etag
        except Exception as error:  # noqa: BLE001 - no fit ends for it: its result brings the same
            if not self.failed:
                self._tell(logging.WARNING, f"its progress cannot be followed, and it goes on: {error}")
            self.failed = True

    def hear(self, said: Said) -> None:
        """Tells what is new in what an attempt said. Raises what ``on_step`` raises."""
        if self.lines and said.attempt not in self.lines:
            self._tell(logging.WARNING, "its task was lost or failed: Spark began it again.")
        heard = self.lines.get(said.attempt, 0)
        self.lines[said.attempt] = max(heard, len(said.lines))
        for level, line in said.lines[heard:]:
            self._tell(level, line)
        for step, values in said.steps[self.steps :]:
            self.job.on_step(step, values)
            self.steps += 1

    def close(self) -> None:
        """Removes what lies on the lake, once the fit has ended."""
        try:
            for blob in list(self.job.lake.list(self.folder)):
                self.job.lake.delete(blob.path)
        except (DarkroomError, OSError) as error:
            self._tell(logging.WARNING, f"its progress stays on the lake until a vacuum: {error}")

    def _tell(self, level: int, line: str) -> None:
        log.log(level, "[%s %s] %s", self.job.config.name, self.key, line)
