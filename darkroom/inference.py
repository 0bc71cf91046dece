"""What one date of batch inference consists of: its feeds, their models and champions, and its summary."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from darkroom.champion_choice import Choice, choose_champion, mode_of_run
from darkroom.codedigest import code_digest
from darkroom.contract import inbox, inbox_binding
from darkroom.date_requests import BatchRequest, checked_partition_date
from darkroom.errors import InvalidRequest, NoChampion, UserError
from darkroom.inbox import is_arrived
from darkroom.requests import parse_request
from darkroom.settings import get_settings
from darkroom.storage import Storage

log = logging.getLogger(__name__)


def feeds_of_date(
    lake: Storage,
    fields: dict[str, Any],
    partition_key: str | None,
    predicted_at: datetime,
    run_type: str = "manual",
    clear_number: int | None = 0,
) -> list[dict[str, Any]]:
    """One request of the predict job for each feed of the date.

    ``fields`` are those of BatchRequest; ``predicted_at`` is when the run began, UTC; ``run_type`` and
    ``clear_number`` are Airflow's and decide what the mode "auto" means. Where no feed is asked for by name, a folder
    that cannot be classified (no champion, an unusable name or binding) is left out: one warning tells of all of them,
    and each request names them in ``left_out``, for the date's summary. Raises InvalidRequest for an unusable date, an
    unknown feed, or a version where the feeds go to several models. Raises what is wrong with a feed, InvalidRequest
    or NoChampion, where it was asked for by name, and what is wrong with all of them where none can be classified.
    """
    dt = checked_partition_date(partition_key)
    request = parse_request(BatchRequest, fields)
    mode = mode_of_run(request.mode, run_type, clear_number)
    feeds = known_feeds(lake, request.feeds)
    if not feeds:
        log.warning("There is no feed below inbox/: nothing to classify on %s.", dt)
    requests: list[dict[str, Any]] = []
    faults: dict[str, UserError] = {}
    for feed in feeds:
        try:
            model = bound_model(lake, feed)
            choice = choose_champion(lake, model, mode, dt, request.version)
        except (InvalidRequest, NoChampion) as fault:
            if request.feeds:
                raise
            faults[feed] = fault
            continue
        requests.append(request_of_feed(feed, model, dt, mode, choice, predicted_at))
    models = sorted({each["model"] for each in requests})
    if request.version and len(models) > 1:
        raise InvalidRequest(
            f"The version {request.version!r} was named, but the feeds go to several models: {', '.join(models)}. "
            "Expected feeds of one model. Name them in the form."
        )
    if faults:
        told = " ".join(f"{feed}: {fault.message}" for feed, fault in faults.items())
        if not requests:
            kind = NoChampion if all(isinstance(fault, NoChampion) for fault in faults.values()) else InvalidRequest
            raise kind(f"No feed below inbox/ can be classified. {told}")
        log.warning("Left out on %s, since they cannot be classified. %s", dt, told)
    return [{**each, "left_out": list(faults)} for each in requests]


def known_feeds(lake: Storage, asked: Sequence[str]) -> list[str]:
    """The feeds that were asked for, or every folder below inbox/; sorted. Raises InvalidRequest for an unknown one."""
    known = lake.folders("inbox")
    if unknown := sorted(set(asked) - set(known)):
        raise InvalidRequest(
            f"There is no feed {', '.join(unknown)} below inbox/. Known feeds: {', '.join(known) or 'none'}. "
            "A feed is a folder inbox/<feed>/dt=YYYY-MM-DD/."
        )
    return sorted(set(asked or known))


def request_of_feed(
    feed: str, model: str, dt: str, mode: str, choice: Choice, predicted_at: datetime
) -> dict[str, Any]:
    """What the predict job is asked for; the code that planned it is named, so that a deploy in between is seen."""
    champion = choice.champion
    log.info("Feed %s on %s goes to version %s of %s (%s). %s", feed, dt, champion.version, model, mode, choice.note)
    return {
        "feed": feed,
        "model": model,
        "dt": dt,
        "champion": champion.as_dict(),
        "predicted_at": predicted_at.isoformat(),
        "mode": mode,
        "note": choice.note,
        "planned_by": code_digest(),
    }


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
    """The run's summary over all feeds: small numbers, for the log, the asset event and the demo's last screen.

    ``told`` holds what somebody should know of single feeds: another model than expected, other code, a result that
    was restored by hand and stays.
    """
    feeds = [result["feed"] for result in results]
    left_out = sorted({feed for result in results for feed in result["left_out"]})
    incomplete = sorted(result["feed"] for result in results if result["incomplete"])
    told = [f"{result['feed']}: {sentence}" for result in results for sentence in result["told"]]
    images = sum(int(result["images"]) for result in results)
    log.info("%s: %d images in %d feeds.", dt, images, len(feeds))
    for sentence in told:
        log.warning("%s, %s", dt, sentence)
    if left_out:
        log.warning("%s: left out, since they cannot be classified: %s. find_feeds says why.", dt, ", ".join(left_out))
    if not images and not incomplete:
        log.warning("No images had arrived for %s. Zero rows were written.", dt)
    return {
        "dt": dt,
        "feeds": feeds,
        "left_out": left_out,
        "incomplete": incomplete,
        "models": sorted({str(result["model"]) for result in results}),
        "modes": sorted({str(result["mode"]) for result in results}),
        "told": told,
        "images": images,
        "problems": sum(int(result["problems"]) for result in results),
        "changed": any(bool(result["changed"]) for result in results),
    }


def incomplete_alert(dt: str, feeds: Sequence[str], seconds: float) -> str:
    """What a person is told of a date whose ``feeds`` were not complete after ``seconds`` of waiting."""
    folders = ", ".join(inbox(feed, dt) for feed in feeds)
    return (
        f"Images of {dt} did not all arrive. After {seconds:g} s there was no _SUCCESS, and nothing or still changing "
        f"files, in {folders}. No row was written there. When the images are there, trigger batch_inference for {dt}; "
        "reconcile finds them too."
    )


def may_ask_for_retraining(event: Mapping[str, Any]) -> bool:
    """Whether a date's event may lead to a retraining: it was scheduled and ran for the first time.

    A backfill, a date by hand, a reconcile and a rerun are about the past: they never retrain and never move the
    champion.
    """
    return event.get("run_type") == "scheduled" and not event.get("rerun")
