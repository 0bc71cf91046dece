"""The Spark jobs that write a table: a small lake for each, its request, and how to run and to kill it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from darkroom.contract import TableSpec, examples_table, images_table, predictions_table
from darkroom.storage import FolderStorage, Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from tests.crash.kill_at import kill_session, members
from tests.packages import champion_of, png, write_dataset
from tests.suites.images import DATASET, odd_files, store

ROOT = Path(__file__).parents[2]
IMAGES = 40
DAY, FEED, MODEL, LAMPS = "2026-01-02", "clinic", "lamps", "lamps"
TRANSFORMS = [ImageTransform(width=24, height=20), ImageTransform(width=16, height=16, color="rgb")]
KILL = "from tests.crash.kill_at import launch; launch()"
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # a JVM that lives for seconds
_ENOUGH_SECONDS = 180

Request = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One job: its table, how many commits it makes, and a function that fills a lake and returns the request."""

    spec: TableSpec
    commits: int
    prepare: Callable[[Storage], Request]
    reports: tuple[str, ...] = ()  # results that are lake paths

    @property
    def points(self) -> list[tuple[str, int, int]]:
        """(point, occurrence, commits that were made by then), in the order in which a run passes them."""
        commits = [("before commit", number, number - 1) for number in range(1, self.commits + 1)]
        return [("session up", 1, 0), ("half written", 1, 0), *commits, ("after commit", self.commits, self.commits)]


def run(name: str, lake: FolderStorage, request: Request, folder: Path) -> dict[str, Any]:
    """The result that the job leaves in a process of its own. Fails when it ends with an error."""
    code = _process(["-m", f"spark_apps.jobs.{name}"], lake, request, folder)
    assert code == 0, _end_of(folder)
    result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
    return result


def kill(name: str, lake: FolderStorage, request: Request, folder: Path, point: str, occurrence: int) -> None:
    """Runs the job until that point, where SIGKILL ends all its processes. Fails when it gets past the point."""
    code = _process(["-c", KILL, point, str(occurrence), name], lake, request, folder)
    assert code == -signal.SIGKILL, _end_of(folder)
    assert not (folder / "result.json").exists()


def _process(start: list[str], lake: FolderStorage, request: Request, folder: Path) -> int:
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    command = [sys.executable, *start, "--request", json.dumps(request), "--outcome", str(folder)]
    places = {"DARKROOM_LAKE": lake.root, "SPARK_LOCAL_DIRS": str(temporary), "TMPDIR": str(temporary)}
    places["JAVA_TOOL_OPTIONS"] = f"{QUICK_START} -Djava.io.tmpdir={temporary}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | places, stdout=log, stderr=log, start_new_session=True
        )
    try:
        code = process.wait(_ENOUGH_SECONDS)
        _wait_for_all(process.pid)
    finally:
        kill_session(process.pid)
        process.wait()
        shutil.rmtree(temporary, ignore_errors=True)
    return code


def _wait_for_all(session: int) -> None:
    end = time.monotonic() + _ENOUGH_SECONDS
    while left := members(session):
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.05)


def _end_of(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-3000:]


def _commit(lake: Storage, spec: TableSpec, partition: dict[str, str], row: dict[str, Any]) -> None:
    Table(lake, spec).commit(partition, pa.Table.from_pylist([row | partition], schema=spec.schema), {"by": "hand"})


def _manifest(lake: Storage) -> Request:
    """The odd files, and another version of the dataset."""
    row = {"path": "a.png", "content_id": "0" * 64, "uri": "a.png", "size_bytes": 1}
    _commit(lake, images_table(DATASET), {"version": "old"}, row)
    return {"dataset": DATASET, "raw_index": store(lake, odd_files()), "layout": {}}


def _preprocess(lake: Storage) -> Request:
    """A split without examples, but for an image of an earlier split."""
    made = write_dataset(lake, LAMPS, [], train=IMAGES // 2, other=IMAGES // 4)
    first = TRANSFORMS[0]
    row = {"content_id": "0" * 64, "pixels": bytes(20 * 24), "height": 20, "width": 24, "channels": 1}
    _commit(lake, examples_table(LAMPS), {"transform_hash": first.hash}, row)
    return made | {"transforms": [one.model_dump() for one in TRANSFORMS]}


def _predict(lake: Storage) -> Request:
    """An inbox that another model classified before, when one image had arrived, and another date."""
    for number in range(IMAGES):
        lake.write(f"inbox/{FEED}/dt={DAY}/{number:03}.png", png(165 if number % 3 else 90, number))
    lake.write(f"inbox/{FEED}/dt={DAY}/empty.png", b"")
    told = {"image_id": "0" * 64, "path": "000.png", "model": MODEL, "model_version": "0", "run_id": "run-0"}
    told |= {"transform_hash": "0" * 16, "dataset_version": "v0", "size_bytes": 1}
    for day in ("2026-01-01", DAY):
        partition = {"dt": day, "feed": FEED, "origin": "batch"}
        _commit(lake, predictions_table(MODEL), partition, told | {"predicted_at": datetime(2026, 1, 2, tzinfo=UTC)})
    champion = champion_of(lake, MODEL)
    return {"feed": FEED, "model": MODEL, "dt": DAY, "champion": champion, "predicted_at": "2026-01-03T01:00:00Z"}


JOBS = {
    "manifest": Job(images_table(DATASET), 1, _manifest),
    "preprocess": Job(examples_table(LAMPS), len(TRANSFORMS), _preprocess),
    "predict": Job(predictions_table(MODEL), 1, _predict, reports=("page", "summary")),
}
