"""Two predict jobs on one date at the same moment, as processes of their own: both end well, one result stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.contract import prediction_reports, predictions_table
from darkroom.tables import Table
from tests.packages import champion_of, png

pytestmark = [pytest.mark.unit, pytest.mark.timeout(600), pytest.mark.usefixtures("laptop_spark")]

ROOT = Path(__file__).parents[2]
DAY = "2026-01-02"
PARTITION = {"dt": DAY, "feed": "clinic", "origin": "batch"}


def start(lake, request, folder, ready, awaited):
    folder.mkdir()
    command = [sys.executable, "-m", "tests.suites.meeting", str(ready), str(awaited)]
    command += ["--request", json.dumps(request), "--outcome", str(folder)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"DARKROOM_LAKE": lake.root}, stdout=log, stderr=log
        )


def both(lake, tmp_path, first, second):
    """Both jobs have written their rows before either commits; their results, when they have ended."""
    a, b = tmp_path / "a-ready", tmp_path / "b-ready"
    jobs = [
        start(lake, first, tmp_path / "a", a, b),
        start(lake, second, tmp_path / "b", b, a),
    ]
    codes = [job.wait(400) for job in jobs]
    logs = [(tmp_path / name / "log").read_text(errors="replace") for name in "ab"]
    assert codes == [0, 0], logs[0][-2000:] + logs[1][-2000:]
    return [json.loads((tmp_path / name / "result.json").read_text()) for name in "ab"], logs


@pytest.fixture
def request_of(lake):
    for number in range(30):
        lake.write(f"inbox/clinic/dt={DAY}/{number:03}.png", png(165 if number % 3 else 90, number))

    def request(champion):
        fields = {"feed": "clinic", "model": "lamps", "dt": DAY, "champion": champion}
        return fields | {"predicted_at": "2026-01-03T01:00:00+00:00"}

    return request


def standing(lake):
    table = Table(lake, predictions_table("lamps"))
    rows = table.read()
    shown = json.loads(lake.read(f"{prediction_reports('lamps', DAY, 'clinic')}/summary.json"))
    assert [f"{number:03}.png" for number in range(30)] == rows["path"].to_pylist()
    assert shown == table.last_commit(PARTITION)["summary"]
    assert set(rows["model_version"].to_pylist()) == {shown["model_version"]}
    return shown["model_version"], len(table.history())


def it_ends_with_one_result_where_both_do_the_same(lake, tmp_path, request_of):
    champion = champion_of(lake)
    results, logs = both(lake, tmp_path, request_of(champion), request_of(champion))
    assert sorted(result["changed"] for result in results) == [False, True]
    assert standing(lake) == ("1", 1)
    assert sum("Another run wrote clinic" in log for log in logs) == 1


def it_ends_as_if_one_had_run_after_the_other_where_they_differ(lake, tmp_path, request_of):
    one, other = champion_of(lake), champion_of(lake, threshold=0.9) | {"version": "2"}
    results, logs = both(lake, tmp_path, request_of(one), request_of(other))
    assert [result["changed"] for result in results] == [True, True]
    last = max(range(2), key=lambda number: "Another run wrote clinic" in logs[number])
    assert standing(lake) == (results[last]["model_version"], 2)
    assert [log.count("Classifies 30 images") for log in logs] == [1, 1]  # rows that were written are not made again
