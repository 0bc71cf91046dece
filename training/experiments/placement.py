"""Where fits are done: in this process one after the other, or in Spark side by side.

In Spark each fit is a job of one task, or of one barrier stage where several workers train one network together. Jobs
are started from threads, so that the next fit begins when one ends, and each is told of when it ends. What a fit says
on its way is told here, too. Executors need the project and its environment, as all our Spark jobs do; MLflow is talked
to by the driver alone.
"""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from darkroom.errors import DarkroomError, InvalidRequest, MachineryError
from darkroom.outcome import as_darkroom_error
from training.config import TrainingConfig
from training.experiments.progress import EVERY, Listener, Said, telling
from training.kinds import Job, kind_of
from training.networks.team import barrier_team

if TYPE_CHECKING:
    from pyspark import SparkContext

log = logging.getLogger(__name__)

Work = Callable[[Job], Any]


@dataclass(frozen=True)
class Unit:
    """One fit: its key among its siblings, the job, and what is done with it."""

    key: Any
    job: Job
    work: Work


class Place(Protocol):
    """Does units and yields (key, result) as they end. The first error is raised when those under way have ended.

    A job's ``on_step`` is called while the fit goes on, and in this process.
    """

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Any, Any]]:
        """Takes the next unit only when there is room for it."""


class Here:
    """This process."""

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Any, Any]]:
        for unit in units:
            yield unit.key, unit.work(unit.job)


class Cluster:
    """The executors of a Spark session; ``workers`` tasks a fit, of which the first tells the log of this process."""

    def __init__(self, context: SparkContext, workers: int) -> None:
        if context.master.startswith("local") and context.defaultParallelism < workers:
            raise InvalidRequest(
                f"The config asks for {workers} workers, and this Spark session ({context.master}) has "
                f"{context.defaultParallelism} cores. Lower workers, or train on a cluster."
            )
        self.context = context
        self.workers = workers

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Any, Any]]:
        waiting = iter(units)
        running: dict[Future[tuple[Any, Said]], Listener] = {}
        failed: Exception | None = None
        look = time.monotonic() + EVERY
        try:
            with ThreadPoolExecutor(max_workers=64) as threads:
                while True:
                    room = max(1, self.context.defaultParallelism // self.workers)  # executors come and go
                    while failed is None and len(running) < room and (unit := next(waiting, None)):
                        listener = Listener(unit.job, unit.key)
                        running[threads.submit(self._do, unit, listener.folder)] = listener
                    if not running:
                        break
                    ended = wait(running, max(0.0, look - time.monotonic()), FIRST_COMPLETED).done
                    if time.monotonic() >= look:
                        for listener in running.values():
                            listener.listen()
                        look = time.monotonic() + EVERY
                    for future in ended:
                        result, error = _last_heard(future, listener := running[future])
                        listener.close()
                        del running[future]
                        if error:
                            failed = failed or _told(error)
                            log.info("Fit %s failed; those under way go on to their end.", listener.key)
                        else:
                            yield listener.key, result
        finally:
            for listener in running.values():
                listener.close()
        if failed:
            raise failed

    def _do(self, unit: Unit, folder: str) -> tuple[Any, Said]:
        """What the first task returns, or the user's error of any, and all that the first said."""
        tasks = self.context.parallelize(range(self.workers), self.workers)
        job, work, key = unit.job.telling(Job.on_step), unit.work, unit.key  # its own on_step stays here
        own_log = not self.context.master.startswith("local")  # there it would be this process's log

        def together(_: Iterator[int]) -> Iterator[Any]:
            with barrier_team() as team:
                yield _attempt(work, replace(job, team=team), key, folder, own_log)

        def alone(_: Iterator[int]) -> Iterator[Any]:
            yield _attempt(work, job, key, folder, own_log)

        found = (tasks.mapPartitions(alone) if self.workers == 1 else tasks.barrier().mapPartitions(together)).collect()
        result, said = found[0]
        return next((one for one, _ in found if isinstance(one, DarkroomError)), result), said


def _last_heard(future: Future[tuple[Any, Said]], listener: Listener) -> tuple[Any, BaseException | None]:
    """The result or the error of a fit that has ended, after the last of what it said was told."""
    listener.listen()
    if error := future.exception():
        return None, error
    result, said = future.result()
    listener.hear(said)
    return (None, result) if isinstance(result, DarkroomError) else (result, None)


def _attempt(work: Work, job: Job, key: Any, folder: str, own_log: bool) -> tuple[Any, Said]:
    """What the work returns, or the user's error: Spark would try again what cannot help, so it is not raised here.

    With it comes all that the worker said, if it leads.
    """
    # One task has one core. TensorFlow takes its threads from here when it is first imported.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    level = logging.INFO if job.team.leads else logging.WARNING  # the others would say the same
    form = f"[{job.config.name} {key}] %(message)s"
    logging.basicConfig(level=level, format=form, handlers=None if own_log else [], force=True)
    with telling(job.lake, folder) if job.team.leads else nullcontext(Said(attempt=0)) as said:
        try:
            return work(job.telling(said.step)), said
        except ModuleNotFoundError as error:
            return _lacking(str(error.name)), said
        except DarkroomError as error:
            if error.retryable:
                raise
            traceback.print_exc()
            return error, said


def _lacking(module: str) -> InvalidRequest:
    return InvalidRequest(
        f"The workers of this Spark cluster have no module {module!r}, which this config is fitted with. Expected all "
        "that its fit imports; networks need workers that were started with SPARK_PACKAGES=spark-training "
        "(docs/experiments.md). Start them so, or set where: local."
    )


def _told(error: BaseException) -> Exception:
    """One of our errors: that of the worker where it was one, else what Spark says of it in one line."""
    if not isinstance(error, Exception):
        raise error
    # The work itself could not be read in the worker, since a module at its head is not there.
    if lacking := re.search(r"^ModuleNotFoundError: No module named '([\w.]+)'", str(error), re.MULTILINE):
        return _lacking(lacking[1])
    ours = as_darkroom_error(error)
    reasons = re.findall(r"^[A-Z]\w*Error: .+$", str(error), re.MULTILINE)  # of the worker's Python
    reasons += re.findall(r"Job aborted due to stage failure: ([^\n]+)", str(error))
    if isinstance(error, DarkroomError) or re.search(r"^darkroom\.errors\.", str(error), re.MULTILINE) or not reasons:
        return ours
    return MachineryError(
        f"A fit in Spark ended with: {reasons[0]} Nothing was kept of it; fits that had ended are not done again. Look "
        "into the log of its worker, then run the task again."
    )


@contextmanager
def placed(config: TrainingConfig) -> Iterator[Place]:
    """The place for a config's fits. One Spark session serves them all where its kind or ``where`` asks for Spark."""
    in_spark = kind_of(config.kind).RUNS_IN == "spark"
    if in_spark or config.where == "spark":
        from training.classical.mllib import session

        with session() as spark:
            yield Here() if in_spark else Cluster(spark.sparkContext, getattr(config, "workers", 1))
    else:
        yield Here()
