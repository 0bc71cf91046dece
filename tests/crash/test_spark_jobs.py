"""A Spark job that is killed whole leaves nothing half-written, and its rerun gives the rows of an undisturbed run."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from darkroom.contract import NOT_COMPARED
from darkroom.storage import FolderStorage
from darkroom.storage.base import TEMPORARY
from darkroom.tables import Table
from tests.crash.campaign import KILLS, Tell
from tests.crash.jobs import IMAGES, JOBS, Job, kill, run

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]


def version_of(lake: FolderStorage, job: Job) -> int:
    version = Table(lake, job.spec).version()
    assert version is not None
    return version


def rows(lake: FolderStorage, job: Job, version: int | None = None) -> pa.Table:
    names = [name for name in job.spec.schema.names if name not in NOT_COMPARED]
    return Table(lake, job.spec).read(columns=names, version=version)


def states_of(lake: FolderStorage, job: Job) -> list[pa.Table]:
    """What a reader sees before the job and after each of its commits, from the versions of an undisturbed run."""
    last = version_of(lake, job)
    return [rows(lake, job, version) for version in range(last - job.commits, last + 1)]


def left_over(lake: FolderStorage, job: Job) -> tuple[int, int]:
    """How many unfinished files, and finished ones that no version ever named, are in the table's folder."""
    table, folder = Table(lake, job.spec), Path(lake.uri(job.spec.path))
    found = [path for path in folder.rglob("*") if path.is_file() and "_delta_log" not in path.parts]
    unfinished = {str(path) for path in found if path.name.startswith(TEMPORARY)}
    named = {file for version in range(version_of(lake, job) + 1) for file in table.files(version=version)}
    return len(unfinished), len({str(path) for path in found} - unfinished - named)


@pytest.mark.parametrize("name", JOBS)
def it_survives_a_kill_of_driver_and_workers(name: str, tmp_path: Path, record_property: Tell) -> None:
    job = JOBS[name]
    seed = FolderStorage(tmp_path / "seed")
    request = job.prepare(seed)

    def fresh() -> FolderStorage:
        return FolderStorage(shutil.copytree(seed.root, tmp_path / secrets.token_hex(4)))

    undisturbed = fresh()
    assert run(name, undisturbed, request, tmp_path / "undisturbed")["changed"] is True
    states, first = states_of(undisturbed, job), version_of(seed, job)
    assert states[0].equals(rows(seed, job))
    assert states[-1].num_rows - states[0].num_rows > IMAGES // 2
    for number, (point, occurrence, commits) in enumerate(job.points):
        where, lake = f"{name}, killed at {point} {occurrence}", fresh()
        kill(name, lake, request, tmp_path / f"kill-{number}", point, occurrence)
        assert rows(lake, job).equals(states[commits]), where
        assert version_of(lake, job) == first + commits, where
        unfinished, finished = left_over(lake, job)
        assert (unfinished > 0) == (point == "half written"), where
        assert (finished > 0) == (point == "before commit"), where
        result = run(name, lake, _later(request), tmp_path / f"rerun-{number}")
        assert result["changed"] is (commits < job.commits), where
        assert rows(lake, job).equals(states[-1]), where
        assert version_of(lake, job) == first + job.commits, where
        assert all(lake.stat(result[report]) for report in job.reports), where
    record_property(KILLS, f"{name}, Spark job: killed at all of {len(job.points)} points")


def _later(request: dict[str, Any]) -> dict[str, Any]:
    return request | ({"predicted_at": "2026-02-03T01:00:00Z"} if "predicted_at" in request else {})
