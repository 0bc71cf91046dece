"""The ``darkroom`` command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from typing import NoReturn

from darkroom import cli_past
from darkroom.cli_lineage import add_lineage
from darkroom.errors import DarkroomError
from darkroom.feedback.commands import add_feedback
from darkroom.lake_check import check_lake, images_in_place
from darkroom.lake_copy import Copied, copy_lake, journals_folder
from darkroom.settings import Settings, get_settings
from darkroom.storage import HdfsStorage, Storage, StorageOptions, open_lake, open_storage

_TELL_SECONDS = 2.0


class _Lines:
    """A line of progress now and then, on the error stream."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, line: Callable[[], str]) -> None:
        if time.monotonic() - self._last >= _TELL_SECONDS:
            self._last = time.monotonic()
            print(line(), file=sys.stderr, flush=True)


def lake_copy(arguments: argparse.Namespace) -> int:
    """Copies a lake and says how much was copied and how much was there."""
    source, target = _open_source(arguments.source), open_storage(arguments.target)
    lines = _Lines()
    folder = journals_folder(get_settings().home)
    done = copy_lake(source, target, folder, lambda now: lines.tell(lambda: _how_far(now)))
    print(
        f"{source.root} is copied to {target.root}: {done.files:,} files, {done.size / 1e6:,.1f} MB, each verified by "
        f"SHA-256; {done.found:,} of them were there already."
    )
    if outside := images_in_place(source):
        print(f"{outside:,} images are in place elsewhere and were not copied: the copy reads them where they are.")
    return 0


def lake_check(arguments: argparse.Namespace) -> int:
    """Prints every finding. 1 when something is missing or damaged; leftovers alone are fine."""
    lake, lines = _named_lake(arguments), _Lines()
    done = check_lake(
        lake,
        lambda number, of: lines.tell(lambda: f"{number:,} of {of:,} hashes compared"),
        hashes=not arguments.no_hashes,
    )
    for finding in done.findings:
        print(finding)
    left = sum(finding.kind in ("leftover", "unfinished") for finding in done.findings)
    elsewhere = f", {done.in_place:,} images in place elsewhere not looked at" if done.in_place else ""
    print(
        f"{lake.root}: {done.files:,} files, {done.size / 1e6:,.1f} MB, {done.hashes:,} hashes compared; "
        f"{len(done.findings) - left:,} missing or damaged, {left:,} left over{elsewhere}."
    )
    return int(done.damaged)


def lake_clean(arguments: argparse.Namespace) -> int:
    """Removes what killed writes left, once it is old enough that no write can still be under way."""
    lake, before = _named_lake(arguments), datetime.now(UTC) - timedelta(hours=arguments.older_than)
    found = list(lake.unfinished())
    old = [blob for blob in found if blob.modified <= before]
    for blob in old:
        lake.discard(blob)
        print(f"removed: {blob.path} (of {blob.modified:%Y-%m-%d %H:%M} UTC)")
    print(f"{lake.root}: {len(old):,} unfinished writes removed, {len(found) - len(old):,} younger ones kept.")
    return 0


def _named_lake(arguments: argparse.Namespace) -> Storage:
    return open_storage(arguments.lake) if arguments.lake else open_lake()


def _open_source(address: str) -> Storage:
    """A copy's source. DARKROOM_FROM_... describe its server where it is not the target's."""
    settings = Settings(_env_prefix="DARKROOM_FROM_")  # type: ignore[call-arg]  # an option of pydantic-settings
    if address.startswith("s3://") and "DARKROOM_FROM_S3_ENDPOINT" in os.environ:
        return open_storage(address, StorageOptions.from_settings(settings))
    if address.startswith("hdfs://") and settings.hdfs_http:
        return HdfsStorage(address, settings.hdfs_http)
    return open_storage(address)


def _how_far(now: Copied) -> str:
    return (
        f"{now.done:,} of {now.files:,} files, {now.done_size / 1e6:,.1f} of {now.size / 1e6:,.1f} MB, "
        f"{now.found:,} were there already"
    )


def _hours(value: str) -> float:
    hours = float(value)
    if not 0 <= hours < 10**6:
        raise ValueError(value)
    return hours


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(prog="darkroom", description="Looks after what Darkroom keeps.")
    groups = top.add_subparsers(
        required=True, metavar="lake | partition | vacuum | feedback | lineage | champion | model"
    )
    commands = groups.add_parser("lake", help="copy, check and clean a lake").add_subparsers(
        required=True, metavar="copy | check | clean"
    )
    copy = commands.add_parser("copy", help="copy a lake to another place; run again, it goes on where it stopped")
    copy.add_argument("source", metavar="FROM", help="a folder, s3://bucket/prefix or hdfs://host:port/path")
    copy.add_argument("target", metavar="TO", help="the same; empty, or an earlier copy of FROM")
    copy.set_defaults(run=lake_copy)
    check = commands.add_parser("check", help="is every file there that the lake names, with its size and hash")
    check.add_argument("--no-hashes", action="store_true", help="compare names and sizes only")
    check.set_defaults(run=lake_check)
    clean = commands.add_parser("clean", help="remove what killed writes left")
    clean.add_argument(
        "--older-than", type=_hours, default=24.0, metavar="HOURS", help="only what is older than this (default 24)"
    )
    clean.set_defaults(run=lake_clean)
    for command in (check, clean):
        command.add_argument("lake", nargs="?", metavar="URI", help="default: the lake that DARKROOM_LAKE names")
    cli_past.add_commands(groups)
    add_feedback(groups)
    add_lineage(groups)
    # What needs more than this package: each adds its own group (pyproject.toml names them).
    for extension in entry_points(group="darkroom.commands"):
        extension.load()(groups)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code. An error of ours is one line on the error stream."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except DarkroomError as error:
        print(f"{type(error).__name__}: {error.message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. Run it again: it goes on from here.", file=sys.stderr)
        return 130
    return code


def program() -> NoReturn:
    """The command as a program. It ends at once: threads of Arrow may abort an interpreter that cleans up."""
    try:
        code = main()
    except SystemExit as ended:  # argparse has said why
        code = ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:  # whoever reads has seen enough
        code = 0
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
