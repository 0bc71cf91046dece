"""The parts of the ``darkroom`` command that need training: ``darkroom champion`` and ``darkroom model``."""

from __future__ import annotations

import argparse
import getpass
from datetime import UTC, datetime
from typing import Any

from darkroom import champions
from darkroom.storage import open_lake


def champion_history(arguments: argparse.Namespace) -> int:
    """A line an entry, the newest first."""
    lake = open_lake()
    entries = champions.history(lake, arguments.model)
    champion = champions.current(lake, arguments.model)
    for entry in reversed(entries):
        when = entry["promoted_at"][:16].replace("T", " ")
        if entry["kind"] == "withdrawn":
            print(f"{entry['number']:>4}  {when}  withdraws {entry['withdraws']}: {entry['reason']}")
            continue
        details = entry.get("details", {})
        approved = details.get("by", {})
        who = approved.get("name") or approved.get("approval", "auto")
        now = "  <- champion" if champion and champion.number == entry["number"] else ""
        print(f"{entry['number']:>4}  {when}  version {entry['version']}, {details.get('config', '?')}, by {who}{now}")
    if not entries:
        print(f"{arguments.model} has no champion yet.")
    return 0


def champion_rollback(arguments: argparse.Namespace) -> int:
    """Goes back, moves MLflow's aliases, and prints what the withdrawn models wrote."""
    from training.deciding.promotion import partitions_of, plan_rollback, roll_back

    lake = open_lake()
    plan = plan_rollback(lake, arguments.model, arguments.to)
    done = roll_back(lake, plan, arguments.reason, by=getpass.getuser(), now=datetime.now(UTC))
    print(f"Entry {done['entry']}, version {done['version']}, is champion of {arguments.model} again.")
    for partition in partitions_of(lake, arguments.model, plan["withdraw"]):
        print(f"written by a withdrawn model: {' '.join(f'{name}={value}' for name, value in partition.items())}")
    return 0


def model_install(arguments: argparse.Namespace) -> int:
    """Makes a config's package the champion, and says where it stands."""
    from training.install import install

    who = getpass.getuser()
    config, model = arguments.config, arguments.model
    champion = install(open_lake(), config, model, arguments.reason, by=who, now=datetime.now(UTC))
    print(f"{config} is champion of {model}, entry {champion.number}, package {champion.package}.")
    return 0


def model_digest(arguments: argparse.Namespace) -> int:
    """Fetches a pyfunc model without running it, and says what it is and how it would be allowed."""
    import yaml

    from darkroom.pyfunc.folder import Described, folder_digest
    from training.pyfunc_source import downloaded

    files = downloaded(arguments.uri)
    described = Described.of(files)
    entry = {"uri": arguments.uri, "digest": folder_digest(files), "note": ""}
    print(f"{len(files)} files, {sum(map(len, files.values())):,} bytes, Python {described.python}")
    print(f"takes {described.takes}, gives {described.gives}")
    print(f"needs {', '.join(described.requirements.split())}")
    print("Nothing of it was run. Read its code. This entry in the file of DARKROOM_ALLOWED_MODELS allows it:")
    print(yaml.safe_dump([entry], sort_keys=False, width=200), end="")
    return 0


def add_model(groups: Any) -> None:
    """Adds ``darkroom model`` to the command's groups (argparse's subparsers)."""
    commands = groups.add_parser("model", help="models that need no training").add_subparsers(
        required=True, metavar="install | digest"
    )
    digest = commands.add_parser("digest", help="what an MLflow model is, and the entry that allows it; runs nothing")
    digest.add_argument("uri", metavar="URI", help="models:/name/3, runs:/..., s3://..., or a folder")
    digest.set_defaults(run=model_digest)
    command = commands.add_parser("install", help="a pretrained config becomes champion, by hand and without the gate")
    command.add_argument("config", metavar="CONFIG", help="a training config of the kind pretrained")
    command.add_argument("--model", required=True, help="the model, or a feed of this name, that it classifies")
    command.add_argument("--reason", required=True, help="one sentence, for whoever reads the history")
    command.set_defaults(run=model_install)


def add_champion(groups: Any) -> None:
    """Adds ``darkroom champion`` to the command's groups (argparse's subparsers)."""
    commands = groups.add_parser("champion", help="who classifies, and the way back").add_subparsers(
        required=True, metavar="history | rollback"
    )
    history = commands.add_parser("history", help="every promotion and withdrawal, the newest first")
    history.set_defaults(run=champion_history)
    rollback = commands.add_parser("rollback", help="withdraw the champion; an earlier one classifies again")
    rollback.add_argument("--to", type=int, default=0, metavar="ENTRY", help="default: the one before the champion")
    rollback.add_argument("--reason", required=True, help="one sentence, for whoever reads the history")
    rollback.set_defaults(run=champion_rollback)
    for command in (history, rollback):
        command.add_argument("model", metavar="MODEL")
