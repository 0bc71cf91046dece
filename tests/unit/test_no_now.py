"""The data path reads no clock: what a date's rows are depends on the date and the lake, never on when it is run.

Cool-downs, retention and waiting take a clock or a moment from their caller. Durations (time.monotonic) are no dates.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("darkroom", "spark_apps", "training")
CLOCKS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime"},
    "Timestamp": {"now", "utcnow", "today"},
}
# Who may ask what time it is: commands and steps that hand it on, and records of when something was written.
ALLOWED = {
    "darkroom/cli.py: lake_clean": "a command: the age of killed writes",
    "darkroom/cli_past.py: partition_restore": "a command: when a person restored a partition",
    "darkroom/cli_past.py: vacuum": "a command: the retention counts from now",
    "darkroom/feedback/commands.py: _now": "commands: when a person gave feedback or decided on it",
    "darkroom/storage/s3.py: unfinished": "an upload whose server tells no time never counts as old",
    "darkroom/tables/log.py: _removed": "the Delta protocol wants to know when a file was removed",
    "darkroom/tables/table.py: added_action": "the Delta protocol wants to know when a file was written",
    "training/commands.py: champion_rollback": "a command: when a person withdrew a champion",
    "training/commands.py: model_install": "a command: when a person installed a model",
    "training/flow.py: plan": "a step: from when cool-down and budget count",
    "training/flow.py: promote": "a step: when a champion was promoted",
    "training/flow.py: _start_parent": "tells two trainings by hand apart",
    "training/tracking.py: log_step": "MLflow wants to know when a metric was logged",
}


def clocks_in(source):
    """(function, line, what) of every clock that the source names, called or handed on."""
    found = []

    def visit(node, function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute) and _last_name(node.value) in CLOCKS:
            owner = _last_name(node.value)
            if node.attr in CLOCKS[owner]:
                found.append((function, node.lineno, f"{owner}.{node.attr}"))
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found.extend(
                (function, node.lineno, f"time.{one.name}") for one in node.names if one.name in CLOCKS["time"]
            )
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(source), "module")
    return found


def _last_name(node):
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def everywhere():
    return [
        (f"{path.relative_to(ROOT)}: {function}", line, what)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for function, line, what in clocks_in(path.read_text())
    ]


def it_reads_no_clock_in_the_data_path():
    wrong = [f"{place}, line {line}: {what}" for place, line, what in everywhere() if place not in ALLOWED]
    assert wrong == [], "take the moment from the caller; see DECISIONS.md"


def it_allows_no_more_than_is_there():
    assert set(ALLOWED) == {place for place, _, _ in everywhere()}


@pytest.mark.parametrize(
    "source",
    [
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "from datetime import date\nx = date.today()",
        "import time\ntime.time()",
        "from time import time\ntime()",
        "import time\ndef f(clock=time.time_ns): ...",
        "import pandas as pd\npd.Timestamp.utcnow()",
    ],
)
def it_finds_every_way_to_ask(source):
    assert len(clocks_in(source)) == 1


def it_leaves_durations_and_given_moments_alone():
    assert clocks_in("import time\ntime.monotonic()\nfrom datetime import datetime\ndatetime.fromisoformat('x')") == []
