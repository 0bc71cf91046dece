"""What the tests of placements do in Spark's workers, which import it by name."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from darkroom.errors import DataError, MachineryError, StorageUnavailable
from darkroom.storage import Blob, FolderStorage
from training.experiments import fitting
from training.experiments.progress import EVERY
from training.experiments.search import fit_trial
from training.kinds import Fitted, Job

log = logging.getLogger("training.tests")


def who(job: Job) -> dict[str, Any]:
    """The process, what it was asked, how many threads TensorFlow would take, and how many listen to its log."""
    threads, handlers = os.environ.get("TF_NUM_INTRAOP_THREADS"), logging.getLogger("training").handlers
    return {"pid": os.getpid(), "seed": job.seed, "threads": threads, "heard by": len(handlers)}


def refuse(job: Job) -> None:
    """Fails as only the user can help."""
    raise DataError(f"the images of {job.seed} are not there")


def break_down(job: Job) -> None:
    """Fails as a machine does."""
    raise OSError("the disk is gone")


def lack(job: Job) -> None:
    """Needs what is not installed."""
    import a_framework_that_is_not_there  # noqa: F401  # the import is what fails


def _of_the_driver_alone() -> None:
    import a_package_of_the_driver  # noqa: F401  # no worker has it


class Unreadable:
    """Work that no worker can unpickle."""

    def __call__(self, job: Job) -> None:
        raise AssertionError("it was read")

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_the_driver_alone, ()


def meet(job: Job) -> dict[str, Any]:
    """What a team of workers agrees on."""
    team = job.team
    batch, factor = team.share(np.arange(7))
    mine = np.array([team.rank, 10 * len(batch) * factor], dtype=np.float32)
    return {
        "rank": team.rank,
        "size": team.size,
        "mean": team.average(mine).tolist(),
        "sum": float(team.average(np.array([batch.sum() / len(batch) * factor], np.float32))[0]),
        "first": [team.as_the_first_says(team.leads), team.as_the_first_says(not team.leads)],
    }


def leave(job: Job) -> list[float]:
    """The second worker dies while the first waits for it."""
    if not job.team.leads:
        os._exit(9)
    return job.team.average(np.zeros(3, np.float32)).tolist()


def epochs(job: Job, *numbers: int) -> None:
    """Tells of some epochs, each by a line and a step."""
    for number in numbers:
        log.info("epoch %d of seed %d", number, job.seed)
        job.on_step(number, {"val_loss": 1 / number})


def wait_to_be_heard(file: Path, job: Job) -> str:
    """Tells of an epoch, waits for ``file``, which whoever hears of it writes, and tells of another."""
    epochs(job, 1)
    until = time.monotonic() + 60
    while not file.exists():
        if time.monotonic() > until:
            raise DataError("nobody heard of the first epoch")
        time.sleep(0.05)  # between two looks
    epochs(job, 2)
    log.warning("a last word")
    return "heard"


def three_epochs(job: Job) -> None:
    """Tells of three epochs."""
    epochs(job, 1, 2, 3)


def two_slow_epochs(job: Job) -> str:
    """Tells of two epochs, with the time between them that it takes to tell the first to the lake twice."""
    epochs(job, 1)
    time.sleep(2.5 * EVERY)  # two writes and two looks
    epochs(job, 2)
    return "done"


def tell_and_refuse(job: Job) -> None:
    """Tells of two epochs, then fails as only the user can help."""
    epochs(job, 1, 2)
    raise DataError("the third image is not there")


def tell_and_break_down(job: Job) -> None:
    """Tells of two epochs, then fails as a machine does."""
    epochs(job, 1, 2)
    raise MachineryError("the disk is gone")


def tell_and_die(heard: Path, job: Job) -> None:
    """Dies once its first epoch was heard of."""
    wait_to_be_heard(heard, job)
    os._exit(9)


def break_down_once(mark: Path, job: Job) -> str:
    """Fails in its second epoch where ``mark`` is not there yet, and leaves it."""
    epochs(job, 1, 2)
    if not mark.exists():
        mark.touch()
        raise MachineryError("the first machine is gone")
    epochs(job, 3)
    return "done"


def fall_behind(job: Job) -> Any:
    """A trial of a search that is worse than all others in every step of six."""

    def fit(job: Job) -> Fitted:
        for number in range(1, 7):
            log.info("epoch %d", number)
            job.on_step(number, {"val_loss": 9.0})
        raise AssertionError("nobody stopped it")

    with patch.object(fitting, "fit", fit):
        return fit_trial({"model": "lamps"}, "key", "accuracy", [dict.fromkeys(range(7), 0.1)] * 4, job)


class Deaf(FolderStorage):
    """A lake of which nothing can be read that fits tell."""

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        if path.startswith("jobs/fits/"):
            raise StorageUnavailable("this lake is deaf")
        return super().read(path, limit=limit)


class Mute(FolderStorage):
    """A lake to which no fit can write."""

    def write(self, path: str, data: Any) -> Blob:
        raise StorageUnavailable("this lake is mute")
