"""What one date of batch inference consists of: its feeds, their models and champions, and its summary."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from darkroom import champions
from darkroom.contract import inbox, inbox_binding
from darkroom.errors import InvalidRequest, NoChampion, UserError
from darkroom.inbox import is_arrived
from darkroom.requests import BatchRequest, checked_partition_date, parse_request
from darkroom.settings import get_settings
from darkroom.storage import Storage

log = logging.getLogger(__name__)


def feeds_of_date(
    lake: Storage, fields: dict[str, Any], partition_key: str | None, predicted_at: datetime
) -> list[dict[str, Any]]:
    """One request of the predict job for each feed of the date.

    ``fields`` are those of BatchRequest; ``predicted_at`` is when the run began, UTC. Where no feed is asked for by
    name, a folder that cannot be classified (no champion, an unusable name or binding) is left out: one warning tells
    of all of them, and each request names them in ``left_out``, for the date's summary. Raises InvalidRequest for an
    unusable date or an unknown feed. Raises what is wrong with a feed, InvalidRequest or NoChampion, where it was
    asked for by name, and what is wrong with all of them where none can be classified.
    """
    dt = checked_partition_date(partition_key)
    request = parse_request(BatchRequest, fields)
    known = lake.folders("inbox")
    unknown = sorted(set(request.feeds) - set(known))
    if unknown:
        raise InvalidRequest(
            f"There is no feed {', '.join(unknown)} below inbox/. Known feeds: {', '.join(known) or 'none'}. "
            "A feed is a folder inbox/<feed>/dt=YYYY-MM-DD/."
        )
    feeds = request.feeds or known
    if not feeds:
        log.warning("There is no feed below inbox/: nothing to classify on %s.", dt)
    requests: list[dict[str, Any]] = []
    faults: dict[str, UserError] = {}
    for feed in sorted(set(feeds)):
        try:
            model = bound_model(lake, feed)
            champion = champions.resolve_champion(lake, model)
        except (InvalidRequest, NoChampion) as fault:
            if request.feeds:
                raise
            faults[feed] = fault
            continue
        log.info("Feed %s on %s goes to version %s of %s.", feed, dt, champion["version"], model)
        requests.append(
            {"feed": feed, "model": model, "dt": dt, "champion": champion, "predicted_at": predicted_at.isoformat()}
        )
    if faults:
        told = " ".join(f"{feed}: {fault.message}" for feed, fault in faults.items())
        if not requests:
            kind = NoChampion if all(isinstance(fault, NoChampion) for fault in faults.values()) else InvalidRequest
            raise kind(f"No feed below inbox/ can be classified. {told}")
        log.warning("Left out on %s, since they cannot be classified. %s", dt, told)
    return [{**each, "left_out": list(faults)} for each in requests]


def bound_model(lake: Storage, feed: str) -> str:
    """The model that a feed is classified with: what inbox/<feed>/_feed.json says, or the feed's own name."""
    path = inbox_binding(feed)
    if lake.stat(path) is None:
        return feed
    try:
        model = json.loads(lake.read(path))["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f'{lake.uri(path)} cannot be read ({error!r}). Expected JSON such as {{"model": "phantom"}}.'
        ) from None
    return str(model)


def wait_for_inboxes(
    lake: Storage, requests: list[dict[str, Any]], *, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Waits until the inboxes of a date are complete; the requests again, each with ``incomplete``.

    Complete means: a file ``_SUCCESS`` is there, or an image is there and nothing, files under way included, has
    changed for ``inbox_settle_seconds``. One wait for all feeds, which ends after ``inbox_wait_seconds``; a feed that
    is not complete then gets zero rows for the date, and an error is logged. ``clock`` gives the present time in UTC.
    """
    settings = get_settings()
    deadline = clock() + timedelta(seconds=settings.inbox_wait_seconds)
    open_feeds = {(request["feed"], request["dt"]) for request in requests}
    while True:
        open_feeds = {each for each in open_feeds if not _complete(lake, *each, clock())}
        if not open_feeds or clock() >= deadline:
            break
        sleep(min(30.0, max(1.0, settings.inbox_settle_seconds / 2)))
    for feed, dt in sorted(open_feeds):
        log.error(
            "inbox/%s/dt=%s was not complete after %s s (no _SUCCESS, and empty or still changing): it gets zero rows. "
            "Run the date again when its images are there.",
            feed,
            dt,
            f"{settings.inbox_wait_seconds:g}",
        )
    return [{**request, "incomplete": (request["feed"], request["dt"]) in open_feeds} for request in requests]


def _complete(lake: Storage, feed: str, dt: str, now: datetime) -> bool:
    folder = inbox(feed, dt)
    blobs = list(lake.list(folder))
    if any(blob.path.endswith("/_SUCCESS") for blob in blobs):
        return True
    if not any(is_arrived(blob.path.removeprefix(f"{folder}/")) for blob in blobs):
        return False
    # Files under way count here: while a writer fills one, the inbox has not settled.
    newest = max(blob.modified for blob in blobs)
    return now - newest >= timedelta(seconds=get_settings().inbox_settle_seconds)


def summary_of_date(dt: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The run's summary over all feeds: small numbers, for the log, the asset event and the demo's last screen."""
    feeds = [result["feed"] for result in results]
    left_out = sorted({feed for result in results for feed in result["left_out"]})
    incomplete = sorted(result["feed"] for result in results if result["incomplete"])
    images = sum(int(result["images"]) for result in results)
    log.info("%s: %d images in %d feeds.", dt, images, len(feeds))
    if left_out:
        log.warning("%s: left out, since they cannot be classified: %s. find_feeds says why.", dt, ", ".join(left_out))
    if incomplete:
        log.error("%s: not complete when the wait ended, zero rows: %s.", dt, ", ".join(incomplete))
    elif not images:
        log.warning("No images had arrived for %s. Zero rows were written.", dt)
    return {
        "dt": dt,
        "feeds": feeds,
        "left_out": left_out,
        "incomplete": incomplete,
        "models": sorted({str(result["model"]) for result in results}),
        "images": images,
        "problems": sum(int(result["problems"]) for result in results),
        "changed": any(bool(result["changed"]) for result in results),
    }
