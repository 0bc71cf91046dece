"""``darkroom feedback``: give it, look at it, decide on it, and see what it says of the predictions."""

from __future__ import annotations

import argparse
import getpass
import json
from datetime import UTC, datetime
from typing import Any

from darkroom import feedback
from darkroom.errors import InvalidRequest
from darkroom.storage import open_lake


def feedback_add(arguments: argparse.Namespace) -> int:
    """Drops one row, checks, and says what became of it. 1 when it was refused."""
    lake, now = open_lake(), _now()
    at = _moment(arguments.at) if arguments.at else now
    batch = feedback.add(lake, arguments.dataset, arguments.image_id, arguments.label, author=arguments.author, at=at)
    feedback.check(lake, arguments.dataset, now=now)
    row = next(row for row in feedback.stored(lake, arguments.dataset) if row.batch == batch)
    print(_line(row))
    return int(row.rejected)


def feedback_check(arguments: argparse.Namespace) -> int:
    """Says what was read and what each row is."""
    print(feedback.sentence(feedback.check(open_lake(), arguments.dataset, now=_now())))
    return 0


def feedback_list(arguments: argparse.Namespace) -> int:
    """A line a row, the oldest first."""
    rows = feedback.stored(open_lake(), arguments.dataset)
    shown = [row for row in rows if arguments.state in (None, row.state)]
    for row in sorted(shown, key=lambda row: row.order):
        print(_line(row))
    print(f"{len(shown):,} of {len(rows):,} rows of feedback on {arguments.dataset}.")
    return 0


def feedback_accept(arguments: argparse.Namespace) -> int:
    """Accepts what was chosen and says what stands now."""
    by, now = arguments.by or getpass.getuser(), _now()
    done = feedback.accept(open_lake(), arguments.dataset, _choice(arguments), by=by, now=now)
    print(feedback.sentence(done))
    if done["changed"]:
        print(f"The next run of prepare_dataset for {arguments.dataset} makes a version with what was accepted.")
    return 0


def feedback_reject(arguments: argparse.Namespace) -> int:
    """Rejects what was chosen and says what stands now."""
    by, now = arguments.by or getpass.getuser(), _now()
    done = feedback.reject(open_lake(), arguments.dataset, _choice(arguments), arguments.reason, by=by, now=now)
    print(feedback.sentence(done))
    return 0


def feedback_performance(arguments: argparse.Namespace) -> int:
    """A sentence for each package that classified those dates. 1 when one is worse than on validation."""
    from darkroom.feedback.performance import performance

    found = performance(open_lake(), arguments.model, arguments.first, arguments.last)
    for each in found["packages"]:
        print(f"{found['model']} version {each['model_version']}: {each['said']}")
        for name, told in (("trained_on", "were part of its training"), ("labels_it_does_not_know", "are new classes")):
            if each[name]:
                print(f"  {each[name]:,} more labelled images {told} and do not count.")
    if not found["packages"]:
        print(f"No feedback says what the {found['predictions']:,} images of these dates show.")
    print(f"Kept as {found['report']}.")
    return int(any(each["worse"] for each in found["packages"]))


def add_feedback(groups: Any) -> None:
    """Adds ``darkroom feedback`` to the command's groups (argparse's subparsers)."""
    commands = groups.add_parser("feedback", help="true labels that people give afterwards").add_subparsers(
        required=True, metavar="add | check | list | accept | reject | performance"
    )
    add = commands.add_parser("add", help="say what one image shows")
    check = commands.add_parser("check", help="read what was dropped into feedback/ and judge every row")
    listing = commands.add_parser("list", help="every row with its state and reason")
    accept = commands.add_parser("accept", help="let rows join the dataset's next version")
    reject = commands.add_parser("reject", help="refuse rows for good, accepted ones too")
    for command, run in (
        (add, feedback_add),
        (check, feedback_check),
        (listing, feedback_list),
        (accept, feedback_accept),
        (reject, feedback_reject),
    ):
        command.add_argument("dataset", metavar="DATASET")
        command.set_defaults(run=run)
    add.add_argument("image_id", metavar="IMAGE_ID", help="the image's SHA-256, as predictions and manifests name it")
    add.add_argument("label", metavar="LABEL")
    add.add_argument("--author", required=True, help="whose opinion it is")
    add.add_argument(
        "--at", default="", metavar="TIME", help="when it was said, such as 2026-01-31T12:00Z; default: now"
    )
    listing.add_argument("--state", choices=("pending", "accepted", "rejected"))
    for command in (accept, reject):
        command.add_argument("rows", nargs="*", metavar="ROW", help="ids as `list` prints them")
        command.add_argument("--all", action="store_true", help="every pending row")
        command.add_argument("--batch", help="every pending row of one file: the start of its SHA-256")
        command.add_argument("--by", default="", help="who decides; default: your login")
    accept.add_argument(
        "--new-class", action="append", default=[], metavar="LABEL", help="a class that the dataset did not have"
    )
    performance = commands.add_parser("performance", help="how good predictions were, by the labels that came later")
    performance.add_argument("model", metavar="MODEL")
    performance.add_argument("--from", dest="first", metavar="DATE", help="default: the first")
    performance.add_argument("--to", dest="last", metavar="DATE", help="default: the last")
    performance.set_defaults(run=feedback_performance)
    reject.add_argument("--reason", required=True, help="one sentence, for whoever reads the list")


def _choice(arguments: argparse.Namespace) -> feedback.Choice:
    new = tuple(getattr(arguments, "new_class", ()))
    return feedback.Choice(tuple(arguments.rows), arguments.batch or None, arguments.all, new)


def _line(row: feedback.Feedback) -> str:
    at = f"{row.at:%Y-%m-%d %H:%M}" if row.at else "-"
    who = f"  by {row.decided_by}" if row.decided_by else ""
    said = f"{row.image_id[:12]} {json.dumps(row.label, ensure_ascii=False)} {row.author}" if row.image_id else "-"
    reason = f"  {row.reason}" if row.reason else ""
    return f"{row.row_id}  {row.state:<8}  {at}  {said}  {row.file}:{row.line}{who}{reason}"


def _now() -> datetime:
    """When a person says or decides something."""
    return datetime.now(UTC)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"--at {text!r} is no time. Expected one such as 2026-01-31T12:00Z.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
