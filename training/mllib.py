"""What the kinds that Spark MLlib trains share: the split's images as vectors, read without a loop over rows."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from darkroom.contract import TRAIN, VAL, examples_table
from darkroom.errors import DataError
from darkroom.sparkconf import give_keys, session_conf
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from training.kinds import Job

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

ROWS_PER_BATCH = 512  # of examples, which are small, in an Arrow batch
_FEATURES_SCHEMA = "content_id string, pixels array<float>"


@contextmanager
def session() -> Iterator[SparkSession]:
    """spark-submit's session, or a local one; stopped at the end unless it was running before."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("darkroom-train")
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        builder = builder.master("local[*]")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = session_conf(local=not submitted, submitted=submitted, rows_per_batch=ROWS_PER_BATCH)
    for name, value in conf.items():
        builder = builder.config(name, value)
    borrowed = SparkSession.getActiveSession() is not None
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    give_keys(spark)
    try:
        yield spark
    finally:
        if not borrowed:
            spark.stop()


@dataclass(frozen=True)
class Parts:
    """Train as cached rows (content_id, features, split, truth, weight), val as arrays of truth and features."""

    train: DataFrame
    truth: np.ndarray  # int64[N], of val
    features: np.ndarray  # float64[N, D], of val


@contextmanager
def vector_parts(spark: SparkSession, job: Job) -> Iterator[Parts]:
    """The job's images as MLlib vectors of pixels, 0..1. An image that an epoch shows n times weighs n times.

    Raises DataError where an image of the split has no example for the config's transform.
    """
    rows = vectors(labelled_examples(spark, job.lake, job.dataset, job.split, job.config.transform, job.classes))
    rows = rows.cache()
    try:
        parts = {part: rows.filter(rows["split"] == part) for part in (TRAIN, VAL)}
        expected = {part: job.split["split"].to_pylist().count(part) for part in parts}
        found = {part: frame.count() for part, frame in parts.items()}
        if found != expected or not expected[VAL]:
            raise DataError(
                f"Examples for the transform {job.config.transform.hash}: {found}. Expected {expected}, and some of "
                "each. Run the preprocessing step for this config."
            )
        log.info("%s: %s images in train, %s in val", job.config.name, f"{found[TRAIN]:,}", f"{found[VAL]:,}")
        yield Parts(parts[TRAIN], *_collected(parts[VAL], job.config.transform))
    finally:
        rows.unpersist()


def labelled_examples(
    spark: SparkSession, lake: Storage, dataset: str, split: pa.Table, transform: ImageTransform, classes: Sequence[str]
) -> DataFrame:
    """The train and val images: content_id, pixels (array<float>, 0..1), split, truth (index), weight of all copies."""
    files = Table(lake, examples_table(dataset)).files({"transform_hash": transform.hash})
    schema = "content_id string, pixels binary"
    stored = spark.read.schema(schema).parquet(*[_spark_uri(uri) for uri in files]) if files else None
    if stored is None:
        raise DataError(f"{dataset} has no example for the transform {transform.hash}. Run the preprocessing step.")
    wanted = split.filter(pa.compute.is_in(split["split"], pa.array([TRAIN, VAL])))
    index = {name: k for k, name in enumerate(classes)}
    truth = [float(index[label]) for label in wanted["label"].to_pylist()]
    weight = pa.compute.multiply(wanted["weight"], pa.compute.cast(wanted["copies"], pa.float64()))
    columns = {"content_id": wanted["content_id"], "split": wanted["split"], "truth": truth, "weight": weight}
    labels = spark.createDataFrame(pa.table(columns))
    pixels = stored.join(labels.select("content_id"), on="content_id", how="left_semi")
    floats = pixels.select("content_id", "pixels").mapInArrow(_to_floats, _FEATURES_SCHEMA)
    return floats.join(labels, on="content_id", how="inner").select("content_id", "pixels", "split", "truth", "weight")


def vectors(rows: DataFrame) -> DataFrame:
    """The same rows with ``pixels`` as the MLlib vector ``features``, in the order of content_id."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    features = array_to_vector(F.col("pixels")).alias("features")
    chosen = rows.select("content_id", features, "split", "truth", "weight")
    return chosen.repartition(2, "content_id").sortWithinPartitions("content_id")


def _to_floats(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """uint8 pixels of equal length to lists of floats 0..1, a batch at a time without a loop over rows."""
    for batch in batches:
        if not batch.num_rows:
            continue
        column = batch["pixels"]
        offsets = np.frombuffer(column.buffers()[1], dtype=np.int32, count=len(column) + 1, offset=4 * column.offset)
        flat = np.frombuffer(column.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]]
        values = pa.array(flat.astype(np.float32) / np.float32(255))
        pixels = pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), values)
        yield pa.RecordBatch.from_arrays([batch["content_id"], pixels], names=["content_id", "pixels"])


def _collected(rows: DataFrame, transform: ImageTransform) -> tuple[np.ndarray, np.ndarray]:
    """int64[N] truth and float64[N, features] of a small part."""
    from pyspark.ml.functions import vector_to_array

    found = rows.select("truth", vector_to_array(rows["features"]).alias("features")).toArrow()
    features = found["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    width = int(np.prod(transform.shape))
    return found["truth"].to_numpy().astype(np.int64), features.reshape(-1, width)


def _spark_uri(uri: str) -> str:
    """How Spark names an address of the lake."""
    return uri.replace("s3://", "s3a://", 1) if uri.startswith("s3://") else uri
