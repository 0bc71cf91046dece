"""What the lake knows of images that feedback names: in the dataset, or classified from an inbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from darkroom import champions
from darkroom.contract import FEEDBACK_IMAGES, feedback_image, images_table, inbox, predictions_table, raw_blob
from darkroom.errors import InvalidRequest
from darkroom.feedback.rows import Feedback
from darkroom.feedback.rules import Arrival, World
from darkroom.splitting_flow import newest_version
from darkroom.storage import Storage
from darkroom.tables import Table


def world_of(lake: Storage, dataset: str, rows: Iterable[Feedback]) -> World:
    """What is known of the rows' images. Raises InvalidRequest for a dataset that was never prepared."""
    images = Table(lake, images_table(dataset))
    version = newest_version(lake, dataset)
    if version is None:
        raise InvalidRequest(
            f"There is no dataset {dataset!r} in {lake.root}. Expected one that prepare_dataset has made."
        )
    known = images.read({"version": version}, columns=["path", "content_id", "label", "uri", "size_bytes"])
    labels = frozenset(label for label in known["label"].unique().to_pylist() if label is not None)
    by_feedback = pc.starts_with(known["path"], FEEDBACK_IMAGES)
    ids = frozenset(known.filter(pc.invert(by_feedback))["content_id"].to_pylist())
    arrived: dict[str, Arrival | None] = {}
    for file in known.filter(by_feedback).to_pylist():
        arrived[file["content_id"]] = Arrival(file["uri"], file["path"], file["size_bytes"])
    wanted: set[str] = set()
    for row in rows:
        if row.image_id is None:
            continue
        if row.path is not None and row.size_bytes is not None:  # accepted, and perhaps in no version yet
            arrived[row.image_id] = Arrival(raw_blob(dataset, row.image_id), row.path, row.size_bytes)
        elif not row.decided:
            wanted.add(row.image_id)
    for model in models_of(lake, dataset):
        arrived |= _arrived(lake, model, wanted - ids - arrived.keys())
    return World(labels, ids, arrived)


def models_of(lake: Storage, dataset: str) -> list[str]:
    """The model of the dataset's own name, and every other whose champion was trained on it."""
    others = []
    for model in lake.folders("champions"):
        champion = champions.current(lake, model)
        if champion is not None and champion.dataset == dataset and model != dataset:
            others.append(model)
    return [dataset, *others]


def _arrived(lake: Storage, model: str, wanted: Collection[str]) -> dict[str, Arrival | None]:
    """Where those of the images are that the model classified; of several places the first that is still there."""
    if not wanted:
        return {}
    rows = Table(lake, predictions_table(model)).read(
        columns=["dt", "feed", "path", "image_id", "size_bytes"],
        where=pc.field("image_id").isin(pa.array(sorted(wanted), pa.string())),
    )
    places: dict[str, set[tuple[str, str, str, int]]] = defaultdict(set)
    for row in rows.to_pylist():
        places[row["image_id"]].add((row["dt"], row["feed"], row["path"], row["size_bytes"]))
    folders = {(dt, feed) for found in places.values() for dt, feed, _, _ in found}
    there = {blob.path: blob.size for dt, feed in sorted(folders) for blob in lake.list(inbox(feed, dt))}
    found: dict[str, Arrival | None] = {}
    for image_id, several in places.items():
        found[image_id] = None
        for dt, feed, path, size in sorted(several):
            uri = f"{inbox(feed, dt)}/{path}"
            if there.get(uri) == size:
                found[image_id] = Arrival(uri, feedback_image(feed, dt, path), size)
                break
    return found
