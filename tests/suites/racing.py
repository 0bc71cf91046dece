"""Writers of tables in processes of their own, started at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any

import pyarrow as pa

from darkroom.errors import CommitConflict
from darkroom.tables import Table
from tests.suites.forks import forks
from tests.suites.rows import rows

PROCESSES = 6

Commit = tuple[Table, dict[str, str], dict[str, Any]]
"""A table, a partition and the options of ``Table.commit``."""

Writer = tuple[int, Table, dict[str, str], dict[str, Any], pa.Table]

_barriers: list[Barrier] = []


def race(rounds: Sequence[Sequence[Commit]]) -> list[list[int | None]]:
    """Runs each round's commits at the same moment, in 6 processes; the versions that landed, None for a conflict.

    Writer n of a round commits 20 rows whose keys start with "writer<n>-", with {"writer": n} as metadata.
    """
    context = forks()
    barriers = [context.Barrier(len(commits)) for commits in rounds]
    with context.Pool(PROCESSES, initializer=_keep, initargs=(barriers,)) as pool:
        landed = []
        for place, commits in enumerate(rounds):
            writers = [(number, *commit, rows(20, f"writer{number}-")) for number, commit in enumerate(commits)]
            jobs = [(place, writers[start::PROCESSES]) for start in range(PROCESSES)]
            found = dict(pair for pairs in pool.starmap(_commit_all, jobs, chunksize=1) for pair in pairs)
            landed.append([found[number] for number in range(len(commits))])
        return landed


def _keep(barriers: list[Barrier]) -> None:
    _barriers.extend(barriers)


def _commit_all(place: int, writers: list[Writer]) -> list[tuple[int, int | None]]:
    with ThreadPoolExecutor(max(1, len(writers))) as pool:
        return list(pool.map(lambda writer: _commit(_barriers[place], *writer), writers))


def _commit(
    barrier: Barrier, number: int, table: Table, partition: dict[str, str], options: dict[str, Any], content: pa.Table
) -> tuple[int, int | None]:
    barrier.wait(120)
    try:
        return number, table.commit(partition, content, {"writer": number}, **options)
    except CommitConflict:
        return number, None
