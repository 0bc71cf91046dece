"""What the tests of placements do in Spark's workers, which import it by name."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from darkroom.errors import DataError
from training.kinds import Job


def who(job: Job) -> dict[str, Any]:
    """The process, what it was asked, and how many threads TensorFlow would take."""
    return {"pid": os.getpid(), "seed": job.seed, "threads": os.environ.get("TF_NUM_INTRAOP_THREADS")}


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
