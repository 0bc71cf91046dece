"""The checks of feedback: a pure function of all rows and of what is known of their images.

A row that a person decided on, or that cannot be read, stays as it is. Each other row is judged anew, in this order:

1. Its image is in the dataset, or was classified in a feed of its model and can still be read.
2. Its label is a class of the dataset, or one that was accepted as a new class.
3. Its author sent no more rows in one file than the limit. Otherwise all of them wait: they neither count nor
   contradict anyone.
4. Of what one author said of one image the newest counts; what only says the same again is a duplicate.
5. No other author says otherwise, pending or accepted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from darkroom.contract import PENDING, REJECTED
from darkroom.feedback.rows import (
    CONTRADICTION,
    DUPLICATE,
    GONE,
    SUPERSEDED,
    TOO_MANY,
    UNKNOWN_IMAGE,
    UNKNOWN_LABEL,
    UNREADABLE,
    Feedback,
)


@dataclass(frozen=True)
class Arrival:
    """An image that came by an inbox: where its bytes are on the lake, its path inside the dataset, its size."""

    uri: str
    path: str
    size_bytes: int


@dataclass(frozen=True)
class World:
    """What is known: the dataset's classes, which images it holds, and which were classified (None: gone since)."""

    labels: frozenset[str]
    images: frozenset[str]
    arrived: Mapping[str, Arrival | None] = field(default_factory=dict)


def judge(rows: Sequence[Feedback], world: World, limit: int) -> list[Feedback]:
    """The rows in their order, each with the state and reason that follow from all of them."""
    labels = world.labels | {row.label for row in rows if row.accepted}
    sent = Counter((row.batch, row.author) for row in rows)
    reasons: dict[str, str | None] = {}
    counting: dict[str, list[Feedback]] = defaultdict(list)
    for row in rows:
        if row.kind == UNREADABLE or row.image_id is None:
            continue
        reason = None if row.decided else _alone(row, world, labels, sent[row.batch, row.author], limit)
        if not row.decided:
            reasons[row.row_id] = reason
        if reason is None:
            counting[row.image_id].append(row)
    for said in counting.values():
        _together(said, reasons)
    return [_with(row, reasons[row.row_id]) if row.row_id in reasons else row for row in rows]


def _with(row: Feedback, reason: str | None) -> Feedback:
    state = PENDING if reason is None else REJECTED
    return row if (row.state, row.reason) == (state, reason) else replace(row, state=state, reason=reason)


def _alone(row: Feedback, world: World, labels: frozenset[str | None], sent: int, limit: int) -> str | None:
    """What is wrong with a row whatever the others say."""
    image_id = str(row.image_id)
    if image_id not in world.images:
        if image_id not in world.arrived:
            return f"{UNKNOWN_IMAGE}: neither in the dataset nor classified in a feed of its model"
        if world.arrived[image_id] is None:
            return f"{GONE}: it was classified, and no file of an inbox that can be read holds it any more"
    if row.label not in labels:
        return f"{UNKNOWN_LABEL}: no class of the dataset; accept it as a new class if it is one"
    if sent > limit:
        return f"{TOO_MANY}: {sent:,} rows in one file, more than {limit:,}"
    return None


def _together(said: Sequence[Feedback], reasons: dict[str, str | None]) -> None:
    """Fills in what is wrong with the rows of one image because of one another."""
    by_author: dict[str | None, list[Feedback]] = defaultdict(list)
    for row in sorted(said, key=lambda row: row.order):
        by_author[row.author].append(row)
    standing = [row for row in said if row.accepted]
    open_rows = []
    for own in by_author.values():
        heads: list[Feedback] = []
        for row in own:
            if heads and heads[-1].label == row.label:
                if not row.decided:
                    reasons[row.row_id] = f"{DUPLICATE}: {heads[-1].row_id} says the same"
            else:
                heads.append(row)
        for row in heads[:-1]:
            if not row.decided:
                reasons[row.row_id] = f"{SUPERSEDED}: {heads[-1].row_id} of the same author is newer"
        if not heads[-1].decided:
            open_rows.append(heads[-1])
    standing += open_rows
    for row in open_rows:
        others = sorted({f"{other.author} says {other.label}" for other in standing if _against(row, other)})
        if others:
            reasons[row.row_id] = f"{CONTRADICTION}: {'; '.join(others[:3])}"


def _against(row: Feedback, other: Feedback) -> bool:
    return other.author != row.author and other.label != row.label
