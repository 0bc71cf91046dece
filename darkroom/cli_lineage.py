"""``darkroom lineage``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from darkroom.lineage import lineage
from darkroom.storage import open_lake, open_storage


def print_lineage(arguments: argparse.Namespace) -> int:
    """Prints the chain, from the pixels to what was said of them."""
    lake = open_storage(arguments.lake) if arguments.lake else open_lake()
    found = lineage(lake, arguments.asked)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=1, ensure_ascii=False, default=str))
    else:
        print(found.as_text())
    return 0


def add_lineage(groups: Any) -> None:
    """Adds ``darkroom lineage`` to the command's groups (argparse's subparsers)."""
    command = groups.add_parser("lineage", help="where something came from, and what became of it")
    command.add_argument(
        "asked",
        metavar="WHAT",
        help="an image_id, predictions/<model>/dt=<date>/feed=<feed>[/<path>], <model>@<version>, or a package's id",
    )
    command.add_argument("--json", action="store_true", help="as JSON: nodes and edges, all of them")
    command.add_argument("--lake", metavar="URI", help="default: the lake that DARKROOM_LAKE names")
    command.set_defaults(run=print_lineage)
