"""The commands of docs/feedback.md give, check, decide and measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom import champions
from darkroom.storage import open_storage
from tests.packages import champion_of
from tests.suites.documents import bash_blocks, run_commands
from tests.suites.feedback import DATASET, NOW, by_line, classified, drop, lines, prepared, squares

pytestmark = pytest.mark.unit


def it_gives_checks_decides_and_measures_as_the_page_says(tmp_path: Path) -> None:
    lake = open_storage(str(tmp_path / ".darkroom" / "lake"))
    prepared(lake)
    entry = champion_of(lake, DATASET)
    champions.append(lake, DATASET, entry, now=NOW)
    ids = classified(lake, squares(40), package=entry["package"])
    give, look, decide, measure = bash_blocks("feedback.md")
    said = run_commands(give, tmp_path, IMAGE=ids[0])
    assert "pending   " in said
    assert f'{ids[0][:12]} "DARK" ada' in said
    truth = ("BRIGHT", "DARK")
    drop(lake, "more.csv", lines(*((one, truth[k % 2], "ada", "2026-03-03") for k, one in enumerate(ids) if k)))
    said = run_commands(look, tmp_path)
    assert "lamps: 1 new of 2 files, 39 rows read; 40 pending, 0 accepted, 0 rejected." in said
    assert "40 of 40 rows of feedback on lamps." in said
    row = by_line(lake)["more.csv", 2].row_id
    said = run_commands(decide, tmp_path, ROW=row)
    assert "lamps: 0 pending, 40 accepted, 0 rejected." in said
    assert "lamps: 0 pending, 39 accepted, 1 rejected (rejected by a person 1)." in said
    assert "The next run of prepare_dataset for lamps makes a version with what was accepted." in said
    said = run_commands(measure, tmp_path)
    assert "lamps version 1: Balanced accuracy 0.975" in said  # of 20 dark ones 19 were found, of 19 bright ones all
    assert "Kept as reports/performance/lamps/2026-03-01_2026-03-31.json." in said
