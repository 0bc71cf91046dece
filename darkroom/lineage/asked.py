"""What a lineage can be asked for: an image, predictions, or a model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from darkroom import contract
from darkroom.errors import InvalidRequest
from darkroom.lineage.records import Records
from darkroom.tables import Table
from darkroom.tables.search import find_rows

PREDICTION_COLUMNS = ("image_id", "path", "label", "score", "model_version", "problem", "predicted_at")
_ROW = ("path", "content_id", "uri", "label", "given_split", "group", "problem")
_SHORTEST = 8  # hex digits
_HEX = re.compile(r"[0-9a-f]+")
_FORMS = (
    "an image_id (8 to 64 hex digits), predictions/<model>/dt=YYYY-MM-DD/feed=<feed>[/<path>], <model>@<version>, "
    "champions/<model>/<number>.json, or the id of a model package"
)


@dataclass(frozen=True)
class Partition:
    """One partition of a model's predictions."""

    model: str
    dt: str
    feed: str
    origin: str = "batch"

    @property
    def values(self) -> dict[str, str]:
        return {"dt": self.dt, "feed": self.feed, "origin": self.origin}


@dataclass(frozen=True)
class Rows:
    """A partition of predictions, and the path of a file in it; empty for all of it."""

    partition: Partition
    path: str


@dataclass(frozen=True)
class Package:
    model: str
    package_id: str


@dataclass(frozen=True)
class Image:
    """An image by its content_id, with where it was found: manifest rows by dataset, prediction rows by partition."""

    content_id: str
    rows: tuple[tuple[str, dict[str, Any]], ...]
    predictions: tuple[tuple[Partition, dict[str, Any]], ...]


def address_of(place: Partition) -> str:
    """The address of predictions: predictions/<model>/dt=.../feed=...; the origin only where it is not batch."""
    origin = "" if place.origin == "batch" else f"/origin={place.origin}"
    return f"predictions/{place.model}/dt={place.dt}/feed={place.feed}{origin}"


def understood(records: Records, text: str) -> Rows | Package | Image:
    """What ``text`` names. Raises InvalidRequest, saying what was looked at, where it names nothing or several."""
    asked = text.strip().removeprefix(records.lake.uri("").rstrip("/")).strip("/")
    asked = asked.removeprefix("tables/") if asked.startswith("tables/predictions/") else asked
    if asked.startswith("predictions/"):
        return _rows(asked)
    if found := re.fullmatch(r"packages/([^/]+)/([0-9a-f]{64})\.zip", asked):
        return _package_of(records, found[1], {found[2]}, asked)
    if found := re.fullmatch(r"champions/([^/]+)/(\d+)\.json", asked):
        return _champion(records, found[1], int(found[2]))
    if found := re.fullmatch(r"([^/@]+)@(.+)", asked):
        return _version(records, found[1], found[2])
    if _HEX.fullmatch(asked.lower()) and _SHORTEST <= len(asked) <= 64:
        return _by_hash(records, asked.lower())
    raise InvalidRequest(f"{text!r} cannot be looked up. Expected {_FORMS}.")


def _rows(asked: str) -> Rows:
    found = re.fullmatch(r"predictions/([^/]+)/dt=([^/]+)/feed=([^/]+)(?:/origin=([^/]+))?(?:/(.+))?", asked)
    if found is None:
        raise InvalidRequest(
            f"{asked!r} names no predictions. Expected predictions/<model>/dt=YYYY-MM-DD/feed=<feed>, and behind it "
            "the path of one file below the date's inbox, or nothing."
        )
    model, dt, feed, origin, path = found.groups()
    return Rows(Partition(contract.checked_name(model), dt, contract.checked_name(feed), origin or "batch"), path or "")


def _package_of(records: Records, model: str, ids: Iterable[str], asked: str) -> Package:
    if found := sorted(set(ids) & set(records.packages(contract.checked_name(model)))):
        return Package(model, found[0])
    raise InvalidRequest(f"There is no package {asked} on {records.lake.root}. Looked at packages/{model}/.")


def _champion(records: Records, model: str, number: int) -> Package:
    for entry in records.champions(contract.checked_name(model)):
        if entry["number"] == number:
            if entry["kind"] == "withdrawn":
                return _champion(records, model, entry["withdraws"])
            return Package(model, entry["package_id"])
    raise InvalidRequest(
        f"{model} has no champion entry {number}. Looked at champions/{model}/ in {records.lake.root}."
    )


def _version(records: Records, model: str, version: str) -> Package:
    contract.checked_name(model)
    judged = [*records.verdicts(model), *records.champions(model)]
    known = {str(one["version"]): str(one["package_id"]) for one in judged if one.get("package_id")}
    if version in known:
        return Package(model, known[version])
    raise InvalidRequest(
        f"{model} has no version {version!r}. Looked at the champion history and at the gate's verdicts below "
        f"reports/training/{model}/ in {records.lake.root}; they know {', '.join(sorted(known)) or 'none'}."
    )


def _by_hash(records: Records, start: str) -> Package | Image:
    packages = {(m, one) for m in records.models for one in records.packages(m) if one.startswith(start)}
    rows = [(name, row) for name in records.datasets for row in _manifest_rows(records, name, start)]
    predicted = [pair for model in records.models for pair in _predicted(records, model, start)]
    images = sorted({row["content_id"] for _, row in rows} | {row["image_id"] for _, row in predicted})
    if len(packages) + len(images) > 1:
        named = [*(f"image {one}" for one in images), *(f"package {one} of {model}" for model, one in sorted(packages))]
        more = f", and {len(named) - 5:,} more" if len(named) > 5 else ""
        raise InvalidRequest(f"{start} is the start of {', '.join(named[:5])}{more}. Give more digits.")
    if packages:
        return Package(*packages.pop())
    if not images:
        raise InvalidRequest(
            f"Nothing in {records.lake.root} has an id that begins with {start}. Looked at the images of "
            f"{', '.join(records.datasets) or 'no dataset'}, and at the predictions and packages of "
            f"{', '.join(records.models) or 'no model'}."
        )
    return Image(images[0], tuple(rows), tuple(predicted))


def _manifest_rows(records: Records, dataset: str, start: str) -> list[dict[str, Any]]:
    """The manifest rows of every version of a dataset whose content_id begins so."""
    return find_rows(Table(records.lake, contract.images_table(dataset)), "content_id", start, _ROW)


def _predicted(records: Records, model: str, start: str) -> list[tuple[Partition, dict[str, Any]]]:
    rows = find_rows(Table(records.lake, contract.predictions_table(model)), "image_id", start, PREDICTION_COLUMNS)
    return [(Partition(model, row["dt"], row["feed"], row["origin"]), row) for row in rows]
