"""Where fits are done: in this process one after the other, or in Spark side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from training.config import TrainingConfig
from training.kinds import Job, kind_of

Work = Callable[[Job], Any]


@dataclass(frozen=True)
class Unit:
    """One fit: its key among its siblings, the job, and what is done with it."""

    key: Any
    job: Job
    work: Work


class Place(Protocol):
    """Does units and yields (key, result) as they end. The first error is raised when those under way have ended.

    ``live``: whether a job's ``on_step`` is called while the fit goes on, and in this process.
    """

    live: bool

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Any, Any]]:
        """Takes the next unit only when there is room for it."""


class Here:
    """This process."""

    live = True

    def run(self, units: Iterable[Unit]) -> Iterator[tuple[Any, Any]]:
        for unit in units:
            yield unit.key, unit.work(unit.job)


@contextmanager
def placed(config: TrainingConfig) -> Iterator[Place]:
    """The place for a config's fits. One Spark session serves them all where its kind or ``where`` asks for Spark."""
    if kind_of(config.kind).RUNS_IN == "spark":
        from training.mllib import session

        with session():
            yield Here()
    else:
        yield Here()
