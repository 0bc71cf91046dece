"""What challenger and champion say about the test images, each through its own package, for the gate."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.champions import BY_HAND, Champion
from darkroom.contract import TRAIN, VAL, images_table, training_reports
from darkroom.errors import DataError, ModelError
from darkroom.gate import Scores
from darkroom.model import BATCH, Model, load_package
from darkroom.reader import ImageReader
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageProblem, ImageTransform
from training.comparing.measured import predictions_path
from training.data import read_examples, read_split
from training.packaging import THREADS

_SIDES = (128, 512)  # pixels of the shorter side, between small, middling and large images


def challenger_scores(lake: Storage, evaluation: Mapping[str, Any]) -> Scores:
    """What the challenger said when it was evaluated, with what tells the images apart."""
    plan, challenger = evaluation["plan"], evaluation["challenger"]
    folder = training_reports(plan["model"], plan["parent_run_id"])
    table = pq.read_table(io.BytesIO(lake.read(predictions_path(folder, challenger["config"]))))
    columns = {name: table[name].to_pylist() for name in ("content_id", "truth", "predicted", "score", "group")}
    package = lake.stat(challenger["package"])
    return Scores(
        name=f"The challenger {challenger['config']}",
        content_ids=columns["content_id"],
        truth=columns["truth"],
        predicted=columns["predicted"],
        score=columns["score"],
        groups=columns["group"],
        trained_on=trained_on(lake, plan["dataset"], plan["split_id"]),
        slices={"group": columns["group"], **slices_of(lake, plan, columns["content_id"])},
        milliseconds=evaluation["test"][challenger["config"]]["milliseconds"],
        megabytes=None if package is None else package.size / 1e6,
    )


def slices_of(lake: Storage, plan: Mapping[str, Any], content_ids: Sequence[str]) -> dict[str, list[str]]:
    """What tells images apart, a value an image: Pillow's mode, the shorter side, and the source's first folder."""
    return slices_in(image_rows(lake, plan, content_ids))


def image_rows(lake: Storage, plan: Mapping[str, Any], content_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Path, mode, width, height and group of each image; of several files with one content, the first by path."""
    columns = ["content_id", "path", "mode", "width", "height", "group"]
    rows = Table(lake, images_table(plan["dataset"])).read({"version": plan["version"]}, columns=columns)
    first: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():  # sorted by path: the smallest path of a content stands for it
        first.setdefault(row["content_id"], row)
    return [first[content_id] for content_id in content_ids]


def slices_in(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """``slices_of`` images whose rows are known."""
    return {
        "mode": [row["mode"] or "unknown" for row in rows],
        "size": [_size(row["width"], row["height"]) for row in rows],
        "source": [row["path"].partition("/")[0] if "/" in row["path"] else "" for row in rows],
    }


def _size(width: int | None, height: int | None) -> str:
    if width is None or height is None:
        return "unknown"
    side, (small, large) = min(width, height), _SIDES
    if side < small:
        return f"under {small} px"
    return f"{small} to {large - 1} px" if side < large else f"{large} px and more"


def trained_on(lake: Storage, dataset: str, split_id: str) -> frozenset[str]:
    """The content_ids in train and val of a split; none for a package that was installed by hand, and saw none of ours.

    Raises DataError where the split is not known.
    """
    if split_id == BY_HAND:
        return frozenset()
    split = read_split(lake, dataset, split_id)
    return frozenset(split.filter(pc.is_in(split["split"], pa.array([TRAIN, VAL])))["content_id"].to_pylist())


def champion_scores(lake: Storage, plan: Mapping[str, Any], champion: Champion, mine: Scores) -> Scores:
    """What the champion says, through its own transform, about the challenger's test images."""
    name = f"The champion, version {champion.version},"
    try:
        model = load_package(lake, champion.package, package_id=champion.package_id, threads=THREADS)
        seen = trained_on(lake, champion.dataset, champion.split_id)
        probabilities = predict_same(lake, plan, model, mine.content_ids)
    except (ModelError, DataError) as error:
        return Scores.unavailable(name, error.message)
    labels, score = model.labels(probabilities)
    return Scores(name, mine.content_ids, mine.truth, labels, score.tolist(), mine.groups, seen)


def predict_same(lake: Storage, plan: Mapping[str, Any], model: Model, content_ids: Sequence[str]) -> np.ndarray:
    """Probabilities for the given images: from their examples where all are there, else from their bytes."""
    split = read_split(lake, plan["dataset"], plan["split_id"])
    try:
        examples = read_examples(lake, plan["dataset"], split, "test", model.transform)
    except DataError:
        examples = None
    if examples is not None and list(examples.content_ids) == list(content_ids):
        return model.predict(examples.pixels)
    parts = [model.predict(pixels) for pixels in _decoded(lake, plan, model.transform, content_ids)]
    return np.concatenate(parts)


def _decoded(
    lake: Storage, plan: Mapping[str, Any], transform: ImageTransform, content_ids: Sequence[str]
) -> Iterator[np.ndarray]:
    rows = Table(lake, images_table(plan["dataset"])).read({"version": plan["version"]}, columns=["content_id", "uri"])
    address = dict(zip(rows["content_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    reader = ImageReader(lake)
    for start in range(0, len(content_ids), BATCH):
        pixels = []
        for content_id in content_ids[start : start + BATCH]:
            try:
                pixels.append(transform.apply(reader.read(address[content_id], content_id)))
            except (KeyError, ImageProblem) as error:
                raise DataError(f"the image {content_id[:12]} cannot be read for its transform ({error!r}).") from error
        yield np.stack(pixels)
