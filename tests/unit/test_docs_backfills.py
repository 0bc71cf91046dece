"""The commands of docs/backfills.md and docs/dates.md are what the page says."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from darkroom import champions
from darkroom.contract import predictions_table
from darkroom.date_requests import BatchRequest
from darkroom.requests import parse_request
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.packages import champion_of
from tests.suites.classified import put, written
from tests.suites.documents import bash_blocks, run_commands

pytestmark = pytest.mark.unit

PARTITION = {"dt": "2026-01-01", "feed": "phantom", "origin": "batch"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A lake with two results of one date."""
    lake = open_storage(str(tmp_path / ".darkroom" / "lake"))
    champions.append(lake, "phantom", champion_of(lake, "phantom"), now=datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(2):
        put(lake, "2026-01-01", f"{number}.png", feed="phantom")
        written(lake, "2026-01-01", feed="phantom")
    return tmp_path


def it_restores_and_vacuums_as_the_page_says(folder: Path) -> None:
    commands = [block for block in bash_blocks("backfills.md") if block.startswith("darkroom")]
    assert len(commands) == 2
    said = run_commands(commands[0], folder).splitlines()
    assert [line.split("  ")[0] for line in said if line.startswith("version")] == [
        *("version 1", "version 0"),
        *("version 2", "version 1", "version 0"),
    ]
    assert said[0].endswith("2 rows  current; phantom version x, newest")
    assert "has the 1 rows of version 0 again, as version 2." in said[2]
    assert said[4].endswith("1 rows  current; phantom version x, newest; restored from version 0")
    table = Table(open_storage(str(folder / ".darkroom" / "lake")), predictions_table("phantom"))
    assert table.read(PARTITION)["path"].to_pylist() == ["0.png"]
    vacuumed = run_commands(commands[1], folder)
    assert "would be removed" in vacuumed
    assert "nothing; 0.0 MB." in vacuumed


@pytest.mark.parametrize("page", ["backfills.md", "dates.md"])
def it_names_backfills_that_airflow_and_the_form_take(page: str) -> None:
    from airflow.cli.cli_parser import get_parser

    found = 0
    for block in bash_blocks(page):
        for arguments in re.findall(r'make airflow ARGS="((?:[^"\\]|\\.)*)"', block):
            parsed = get_parser().parse_args(shlex.split(arguments.replace('\\"', '"')))
            found += 1
            if conf := getattr(parsed, "dag_run_conf", None):
                parse_request(BatchRequest, json.loads(conf))
    assert found == len([block for block in bash_blocks(page) if "make airflow" in block]) > 0
