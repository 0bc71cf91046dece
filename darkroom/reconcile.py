"""What became of a date's images after it was classified: late, replaced and withdrawn ones, found by listings.

A commit of the predictions table records a fingerprint of the names, sizes and etags that it was made from; its rows
hold the etags one by one. So a date costs a listing and a log entry, and rows are read only where images differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from darkroom.champion_choice import champion_that_wrote
from darkroom.contract import BATCH, inbox, predictions_table
from darkroom.errors import InvalidRequest, NoChampion
from darkroom.inbox import arrived, inputs_fingerprint
from darkroom.inference import bound_model, known_feeds, request_of_feed
from darkroom.storage import Blob, Storage
from darkroom.tables import Table

log = logging.getLogger(__name__)

SHOWN = 5
QUEUED = ("never classified", "changed")
"""Kinds of changes that are classified again; the others are told, and wait for a person."""


@dataclass(frozen=True)
class Change:
    """One feed and date whose images are not those that its rows were made from. Paths are below its inbox.

    ``kind``: "never classified"; "changed"; "emptied" (all its images are gone, as after a clean-up of the inbox: the
    rows stay); "held" (a result that was restored by hand: the rows stay).
    """

    feed: str
    model: str
    dt: str
    kind: str
    images: int
    late: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    package_id: str | None = None  # of the model that wrote the rows; None where there are none

    @property
    def queued(self) -> bool:
        return self.kind in QUEUED

    @property
    def what(self) -> str:
        """In words: how many images are late, replaced, withdrawn, and the first of each."""
        parts = []
        for name in ("late", "replaced", "withdrawn"):
            if paths := getattr(self, name):
                more = ", ..." if len(paths) > SHOWN else ""
                parts.append(f"{len(paths):,} {name} ({', '.join(paths[:SHOWN])}{more})")
        return "; ".join(parts) or f"{self.images:,} images"


def days_before(day: date, count: int) -> list[str]:
    """The ``count`` dates before ``day``, oldest first, as YYYY-MM-DD."""
    return [(day - timedelta(days=back)).isoformat() for back in range(count, 0, -1)]


def find_changes(lake: Storage, dates: Sequence[str], feeds: Sequence[str] = ()) -> list[Change]:
    """Every date and feed whose images changed since its rows were written, in the order of dates and feeds.

    ``feeds`` empty: all of them; one whose binding cannot be read is left out with a warning, unless it was asked for.
    """
    found = []
    for feed in known_feeds(lake, feeds):
        try:
            model = bound_model(lake, feed)
            table = Table(lake, predictions_table(model))
        except InvalidRequest as fault:
            if feeds:
                raise
            log.warning("Left out: %s", fault.message)
            continue
        there = {name.removeprefix("dt=") for name in lake.folders(f"inbox/{feed}")}
        partitions = {dt: {"dt": dt, "feed": feed, "origin": BATCH} for dt in dates}
        written = dict(zip(dates, table.last_commits(list(partitions.values())), strict=True))
        for dt in dates:
            blobs = arrived(lake, feed, dt) if dt in there else []
            change = _change(table, partitions[dt], model, blobs, written[dt])
            if change is not None:
                found.append(change)
    return sorted(found, key=lambda change: (change.dt, change.feed))


def _change(
    table: Table, partition: Mapping[str, str], model: str, blobs: Sequence[Blob], last: dict[str, Any] | None
) -> Change | None:
    dt, feed = partition["dt"], partition["feed"]
    if last is None:
        return Change(feed, model, dt, "never classified", len(blobs)) if blobs else None
    if last.get("inputs") == inputs_fingerprint(blobs):
        return None
    before = _recorded(table, partition)
    folder = f"{inbox(feed, dt)}/"
    now = {blob.path.removeprefix(folder): (blob.size, blob.etag) for blob in blobs}
    kind = "changed"
    if last.get("restored"):
        kind = "held"
    elif before and not now:
        kind = "emptied"
    return Change(
        feed,
        model,
        dt,
        kind,
        len(blobs),
        late=sorted(now.keys() - before.keys()),
        replaced=sorted(path for path in now.keys() & before.keys() if not _same(before[path], now[path])),
        withdrawn=sorted(before.keys() - now.keys()),
        package_id=last.get("summary", {}).get("package_id"),
    )


def _recorded(table: Table, partition: Mapping[str, str]) -> dict[str, tuple[int, str | None]]:
    rows = table.read(partition, columns=["path", "size_bytes", "etag"])
    pairs = zip(rows["size_bytes"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    return dict(zip(rows["path"].to_pylist(), pairs, strict=True))


def _same(before: tuple[int, str | None], now: tuple[int, str]) -> bool:
    return before[0] == now[0] and before[1] in (None, now[1])


def requests_of_changes(lake: Storage, changes: Sequence[Change], predicted_at: datetime) -> list[dict[str, Any]]:
    """Requests of the predict job for the changes that are queued: by the model that wrote the date before.

    A model that was withdrawn, and a date that nobody wrote, go to the champion of the date. A feed without a
    champion is left out with a warning.
    """
    requests = []
    for change in changes:
        if not change.queued:
            log.warning("%s on %s is %s and stays as it is: %s.", change.feed, change.dt, change.kind, change.what)
            continue
        try:
            choice = champion_that_wrote(lake, change.model, change.dt, change.package_id)
        except NoChampion as fault:
            log.warning("Left out: %s", fault.message)
            continue
        log.info("%s on %s is %s: %s.", change.feed, change.dt, change.kind, change.what)
        requests.append(request_of_feed(change.feed, change.model, change.dt, "reconcile", choice, predicted_at))
    return requests
