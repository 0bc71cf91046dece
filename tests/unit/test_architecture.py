"""The arrows between the packages, and the size of files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from infra.test import IN_ALL, SUITES

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
OURS = {"darkroom", "spark_apps", "training", "darkroom_airflow", "dags", "infra", "tests", "benchmarks"}
MAY_IMPORT = {
    "darkroom": {"darkroom"},
    "spark_apps": {"spark_apps", "darkroom"},
    "training": {"training", "darkroom"},
    "plugins": {"darkroom_airflow", "spark_apps", "training", "darkroom"},
    "dags": {"darkroom_airflow", "spark_apps", "training", "darkroom"},
}
FOREIGN = {
    "darkroom": {"airflow", "pyspark", "tensorflow", "keras", "mlflow"},
    "spark_apps": {"airflow", "tensorflow", "keras"},
    "training": {"airflow"},
}
# Run by a model's own environment, in a process of its own.
ELSEWHERE = ROOT / "darkroom" / "pyfunc" / "runner.py"
LONGEST = 325


def imported(path):
    """Every top-level package that a file imports anywhere, functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def it_points_arrows_one_way(package):
    assert sources(package)
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(path)
        if name in OURS - MAY_IMPORT[package]
    }
    assert wrong == set()


@pytest.mark.parametrize("package", FOREIGN)
def it_keeps_frameworks_where_they_belong(package):
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imported(path)
        if name in FOREIGN[package] and path != ELSEWHERE
    }
    assert wrong == set()


def it_keeps_files_short():
    long = {
        str(path.relative_to(ROOT)): lines
        for package in (*MAY_IMPORT, "infra", "benchmarks", "tests")
        for path in sources(package)
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert long == {}


def it_edits_no_import_path():
    wrong = [path for package in MAY_IMPORT for path in sources(package) if "sys.path" in path.read_text()]
    assert wrong == []


def it_promises_at_most_half_an_hour_for_all_tests():
    assert sum(SUITES[name].minutes for name in IN_ALL) <= 30
