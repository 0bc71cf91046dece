"""The commands ``darkroom partition`` and ``darkroom vacuum``: what was, made current again or given up."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from darkroom.contract import (
    BATCH,
    TableSpec,
    examples_table,
    features_table,
    images_table,
    predictions_table,
    splits_table,
)
from darkroom.errors import InvalidRequest
from darkroom.prediction_page import show_standing
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_lake, open_storage
from darkroom.tables import Table
from darkroom.tables.retention import Result, restore_partition, results_of
from darkroom.vacuum import vacuum_lake

_TABLES = {
    "images": images_table,
    "splits": splits_table,
    "examples": examples_table,
    "features": features_table,
}
_PARTS = ("lake", "mlflow", "airflow")


def partition_history(arguments: argparse.Namespace) -> int:
    """Prints every result that the partition had, newest first."""
    table, partition = _partition(_named_lake(arguments), arguments)
    results = results_of(table, partition)
    for result in results:
        print(_line(result, current=result is results[0]))
    if not results:
        print(f"Nobody has written {_told(partition)} of {table.spec.path}.")
    return 0


def partition_restore(arguments: argparse.Namespace) -> int:
    """Makes an earlier result current, and the page of a date that of its result."""
    table, partition = _partition(_named_lake(arguments), arguments)
    result = restore_partition(table, partition, arguments.version, now=datetime.now(UTC))
    show_standing(table, partition)
    restored = result.metadata["restored"]
    print(
        f"{_told(partition)} of {table.spec.path} has the {result.rows:,} rows of version {restored['version']} again, "
        f"as version {result.version}. Version {restored['replaced']} can be restored in the same way."
    )
    if table.spec.path.startswith("tables/predictions/"):
        print("Runs leave this date as it is, and say so, until one asks for the mode rescore.")
    return 0


def vacuum(arguments: argparse.Namespace) -> int:
    """Removes what is beyond the retention: from the lake, from MLflow, and from Airflow's own history."""
    before = datetime.now(UTC) - timedelta(days=arguments.days)
    parts = arguments.part or list(_PARTS)
    code = 0
    if "lake" in parts:
        _vacuum_lake(_named_lake(arguments), before, arguments.dry_run)
    dry = ["--dry-run"] if arguments.dry_run else []
    if "mlflow" in parts:
        command = [sys.executable, "-m", "training.vacuum", "--before", before.isoformat(), *dry]
        lake = {"DARKROOM_LAKE": arguments.lake} if arguments.lake else {}  # whose champions name runs
        code = max(code, subprocess.run(command, env=os.environ | lake, check=False).returncode)
    if "airflow" in parts:
        if {"AIRFLOW_HOME", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"} & os.environ.keys():
            command = [sys.executable, "-m", "airflow", "db", "clean", "--clean-before-timestamp", before.isoformat()]
            code = max(code, subprocess.run([*command, "--skip-archive", "--yes", *dry], check=False).returncode)
        else:
            print("Airflow: left out, since AIRFLOW_HOME does not say which Airflow is meant.")
    return code


def _vacuum_lake(lake: Storage, before: datetime, dry_run: bool) -> None:
    counted: Counter[str] = Counter()
    size = 0
    for removal in vacuum_lake(lake, before, dry_run=dry_run):
        print(f"{'would remove' if dry_run else 'removed'} {removal}")
        counted[removal.kind] += 1
        size += removal.size
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counted.items())) or "nothing"
    verb = "would be removed" if dry_run else "removed"
    print(f"{lake.root}: {verb}, from before {before:%Y-%m-%d %H:%M} UTC: {kinds}; {size / 1e6:,.1f} MB.")


def _partition(lake: Storage, arguments: argparse.Namespace) -> tuple[Table, dict[str, str]]:
    spec = _spec(arguments.table)
    given: dict[str, str] = {}
    for pair in arguments.values:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise InvalidRequest(f"{pair!r} names no part of a partition. Expected name=value, such as dt=2026-01-31.")
        given[name] = value
    if "origin" in spec.partition_by:
        given.setdefault("origin", BATCH)
    table = Table(lake, spec)
    table.commit_number(given)  # says what is missing or unknown
    return table, {name: given[name] for name in spec.partition_by}


def _spec(name: str) -> TableSpec:
    """The table of a model's predictions by the model's name, or any table by its path."""
    parts = name.removeprefix("tables/").strip("/").split("/")
    if len(parts) == 1:
        return predictions_table(parts[0])
    if len(parts) == 2 and parts[0] == "predictions":
        return predictions_table(parts[1])
    if len(parts) == 2 and parts[1] in _TABLES:
        return _TABLES[parts[1]](parts[0])
    raise InvalidRequest(
        f"There is no table {name!r}. Expected a model, predictions/<model>, or <dataset>/{', '.join(_TABLES)}."
    )


def _told(partition: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in partition.items())


def _line(result: Result, *, current: bool) -> str:
    told: list[str] = ["current"] if current else [] if result.there else ["files are gone"]
    summary: dict[str, Any] = result.metadata.get("summary") or {}
    if "model_version" in summary:
        told.append(f"{summary['model']} version {summary['model_version']}, {summary.get('mode', 'newest')}")
    if code := result.metadata.get("code_digest"):
        told.append(f"code {code}")
    if restored := result.metadata.get("restored"):
        told.append(f"restored from version {restored['version']}")
    return f"version {result.version}  {result.at:%Y-%m-%d %H:%M:%S} UTC  {result.rows:,} rows  {'; '.join(told)}"


def _named_lake(arguments: argparse.Namespace) -> Storage:
    return open_storage(arguments.lake) if arguments.lake else open_lake()


def _days(value: str) -> int:
    days = int(value)
    if not 1 <= days <= 36_500:
        raise ValueError(value)
    return days


def add_commands(groups: Any) -> None:
    """Adds both commands to the parser's groups."""
    commands = groups.add_parser("partition", help="the results that a partition had").add_subparsers(
        required=True, metavar="history | restore"
    )
    history = commands.add_parser("history", help="every result of a partition, newest first")
    history.set_defaults(run=partition_history)
    restore = commands.add_parser("restore", help="make an earlier result current again")
    restore.add_argument("--version", type=int, help="a version that history shows; default: the one before")
    restore.set_defaults(run=partition_restore)
    for command in (history, restore):
        command.add_argument("table", metavar="TABLE", help="a model, or a table such as phantom/splits")
        command.add_argument("values", nargs="+", metavar="NAME=VALUE", help="dt=2026-01-31 feed=phantom")
    removing = groups.add_parser("vacuum", help="remove what nothing current names and is beyond the retention")
    removing.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    removing.add_argument(
        "--days", type=_days, default=get_settings().retention_days, help="the retention; see DARKROOM_RETENTION_DAYS"
    )
    removing.add_argument("--part", action="append", choices=_PARTS, help="only this part; may be given twice")
    removing.set_defaults(run=vacuum)
    for command in (history, restore, removing):
        command.add_argument("--lake", metavar="URI", help="default: the lake that DARKROOM_LAKE names")
