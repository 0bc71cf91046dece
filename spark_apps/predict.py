"""Batch inference: the images of one feed and date, classified by a champion, to rows of tables/predictions/<model>.

The driver lists the inbox once and hands out paths. Workers read, decode, measure and predict in batches, and write
the Parquet files themselves; the driver commits them in one transaction that replaces the date.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from darkroom.contract import PREDICTIONS_SCHEMA, inbox
from darkroom.decode import ImageFile, one_thread
from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.imagestats import measure
from darkroom.model import BATCH, Model, load_package
from darkroom.reader import is_local, read_in_order
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.tables import AddedFile
from darkroom.transform import ImageProblem
from spark_apps.arrivals import ChampionOfRequest, Prediction
from spark_apps.images import partition_count

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SHOWN_PROBLEMS = 50  # a summary names at most so many bad files
_READ_AT_ONCE = 64 * 2**20  # bytes of images that a worker holds, more only for a single larger one

WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # of a file that was written, relative to the table
        pa.field("size", pa.int64(), nullable=False),  # bytes
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("labels", pa.string(), nullable=False),  # JSON: label -> number of images
        pa.field("problems", pa.string(), nullable=False),  # JSON: first word of the problem -> number of images
        pa.field("examples", pa.string(), nullable=False),  # JSON: [[path, problem], ...], at most SHOWN_PROBLEMS
    ]
)


def predict_inbox(spark: SparkSession | None, plan: Prediction, partitions: int | None = None) -> dict[str, Any]:
    """Classifies what arrived and commits the rows; returns counts {images, labels, problems, bad_files}.

    Without images no Spark session is needed and zero rows are committed.
    """
    written: list[dict[str, Any]] = []
    if plan.blobs:
        if spark is None:
            raise InvalidRequest(f"{len(plan.blobs):,} images are to be classified, but no Spark session was given.")
        todo = pa.table({name: [getattr(blob, name) for blob in plan.blobs] for name in ("path", "size", "etag")})
        count = partitions or partition_count(spark.sparkContext.defaultParallelism, len(plan.blobs))
        images = spark.createDataFrame(todo).repartition(count).sortWithinPartitions("path")
        written = predict_images(images, plan).toArrow().to_pylist()
    labels: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    bad_files: list[list[str]] = []
    for file in written:
        labels.update(json.loads(file["labels"]))
        problems.update(json.loads(file["problems"]))
        bad_files += json.loads(file["examples"])
    counts = {
        "images": sum(file["rows"] for file in written),
        "labels": dict(sorted(labels.items())),
        "problems": dict(sorted(problems.items())),
        "bad_files": sorted(bad_files)[:SHOWN_PROBLEMS],
    }
    if counts["images"] != len(plan.blobs):
        raise DataError(f"{len(plan.blobs):,} images were listed and {counts['images']:,} rows written. Run it again.")
    return counts | {"files": [AddedFile(file["path"], file["size"], file["rows"]) for file in written]}


def predict_images(images: DataFrame, plan: Prediction) -> DataFrame:
    """(path, size, etag) of files on the lake to WRITTEN_SCHEMA: a row for each predictions file that was written."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return images.select("path", "size", "etag").mapInArrow(_classifier(plan), from_arrow_schema(WRITTEN_SCHEMA))


def _classifier(plan: Prediction) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    lake, request, table, transform_hash = plan.lake, plan.request, plan.table, plan.transform_hash

    def classify(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one_thread()
        tags: dict[str, str] = {}
        files = _noting_tags(batches, tags)
        rows: list[dict[str, Any]] = []
        model = None
        for group in _groups(files):
            model = model or worker_model(lake, request.champion)
            rows += classify_files(lake, model, group)
        if not rows:
            return
        folder = f"{inbox(request.feed, request.dt)}/"
        constants = {
            "model": request.model,
            "model_version": request.champion.version,
            "run_id": request.champion.run_id,
            "transform_hash": transform_hash,
            "dataset_version": request.champion.dataset_version,
            "predicted_at": request.predicted_at,
            **request.partition,
        }
        complete = [
            {**row, **constants, "etag": tags[row["path"]], "path": row["path"].removeprefix(folder)} for row in rows
        ]
        file = table.write_file(request.partition, pa.Table.from_pylist(complete, schema=PREDICTIONS_SCHEMA))
        bad = [(row["path"], row["problem"]) for row in complete if row["problem"]]
        report = {
            "path": file.path,
            "size": file.size,
            "rows": file.rows,
            "labels": json.dumps(Counter(row["label"] for row in complete if row["label"] is not None)),
            "problems": json.dumps(Counter(problem.partition(":")[0] for _, problem in bad)),
            "examples": json.dumps(bad[:SHOWN_PROBLEMS]),
        }
        yield pa.RecordBatch.from_pylist([report], schema=WRITTEN_SCHEMA)

    return classify


def _noting_tags(batches: Iterator[pa.RecordBatch], tags: dict[str, str]) -> Iterator[tuple[str, int]]:
    """(path, size) of each file; its etag is put into ``tags``, by path."""
    for batch in batches:
        for path, size, etag in zip(*batch.to_pydict().values(), strict=True):
            tags[path] = etag
            yield path, size


_MODELS: dict[str, Model] = {}


def worker_model(lake: Storage, champion: ChampionOfRequest) -> Model:
    """The champion's model, loaded once a worker process, with one thread."""
    if champion.package_id not in _MODELS:
        _MODELS.clear()
        _MODELS[champion.package_id] = load_package(lake, champion.package, package_id=champion.package_id, threads=1)
    return _MODELS[champion.package_id]


def classify_files(lake: Storage, model: Model, files: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """The rows of some (path, size) on the lake: image_id, path, what the model says, measurements, problem."""
    rows: list[dict[str, Any]] = []
    pixels: list[np.ndarray] = []
    positions: list[int] = []
    arriving = read_in_order(lambda file: _read(lake, *file), files, local=is_local(lake))
    for (path, size), (image_id, data) in zip(files, arriving, strict=True):
        image = ImageFile(data)
        seen = measure(image)
        row = {
            "image_id": image_id,
            "path": path,
            "size_bytes": size,
            "problem": seen.problem,
            "label": None,
            "score": None,
            "probabilities": None,
            "embedding": None,
            **{name: getattr(seen, name) for name in ("width", "height", "mode", "mean", "std", "min", "max")},
        }
        if seen.problem is None:
            try:
                pixels.append(model.transform.apply(image))
                positions.append(len(rows))
            except ImageProblem as problem:
                row["problem"] = problem.message
        rows.append(row)
    if pixels:
        probabilities, features = model.predict_with_features(np.stack(pixels))
        if not np.isfinite(probabilities).all():
            broken = positions[int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])]
            raise ModelError(f"The model gives no finite probabilities for {rows[broken]['path']}. Train it again.")
        labels, scores = model.labels(probabilities)
        for at, label, score, row_of in zip(positions, labels, scores.tolist(), probabilities.tolist(), strict=True):
            rows[at] |= {"label": label, "score": score, "probabilities": row_of}
        if features is not None:
            for at, row_of in zip(positions, features, strict=True):
                rows[at]["embedding"] = row_of
    return rows


def _groups(files: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """Files in groups of one model batch, smaller where their bytes would fill the memory."""
    while group := list(islice(files, BATCH)):
        start = held = 0
        for end, (_, size) in enumerate(group):
            if end > start and held + size > _READ_AT_ONCE:
                yield group[start:end]
                start, held = end, 0
            held += size
        yield group[start:]


def _read(lake: Storage, path: str, size: int) -> tuple[str, bytes]:
    """The SHA-256 of the whole file, and its bytes: at most one more than the limit, enough to see it is too large."""
    limit = get_settings().max_image_bytes
    try:
        if size <= limit:
            data = lake.read(path)
            return hashlib.sha256(data).hexdigest(), data[: limit + 1]
        with lake.open(path) as stream:
            data = stream.read(limit + 1)
            digest = hashlib.sha256(data)
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest(), data
    except FileNotFoundError:
        raise DataError(
            f"{lake.uri(path)} was listed and is gone. An inbox must not lose files while it is read: run it again."
        ) from None
