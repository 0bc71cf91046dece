"""What the kinds that Spark MLlib trains share: the split's images as vectors, read without a loop over rows."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from darkroom.contract import TRAIN, VAL, examples_table
from darkroom.errors import DarkroomError, DataError
from darkroom.features import FeatureSet
from darkroom.outcome import message_of
from darkroom.sparkconf import give_keys, session_conf
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from training.classical.trials import Trial, Tried, best_on_val
from training.classical.vectors import Vectors, weights_of
from training.config import TrainingConfig
from training.data import part_rows
from training.kinds import Fitted, Job

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

OUT_OF_MEMORY = 52  # Spark's exit code
ROWS_PER_BATCH = 512  # of examples, which are small, in an Arrow batch
_FEATURES_SCHEMA = "content_id string, pixels array<float>, truth double, weight double"


@contextmanager
def session() -> Iterator[SparkSession]:
    """spark-submit's session, or a local one; stopped at the end unless it was running before.

    Raises MemoryError where what is done with it takes more memory than Spark's JVM has. spark-submit ends then, with
    an exit code of its own.
    """
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
    memory = spark.conf.get("spark.driver.memory", "1g")
    try:
        yield spark
    except Exception as error:
        lost = _is_of_memory(error, spark)
        if not borrowed:
            with suppress(Exception):  # its JVM may have ended
                spark.stop()
        if lost:
            raise MemoryError(f"Spark's JVM has {memory} (spark.driver.memory)") from None
        raise
    if not borrowed:
        spark.stop()


def _is_of_memory(error: Exception, spark: SparkSession) -> bool:
    """Whether Java ran out of memory. Spark ends its JVM then, at times before it could be asked what happened."""
    if "java.lang.OutOfMemoryError" in message_of(error):
        return True
    java = getattr(spark.sparkContext._gateway, "proc", None)  # none where spark-submit started both
    if java is None or isinstance(error, DarkroomError):
        return False
    try:
        return bool(java.wait(timeout=5) == OUT_OF_MEMORY)
    except subprocess.TimeoutExpired:
        return False


class MllibConfig(TrainingConfig):
    """A model of MLlib, on pixels or on features."""

    features: FeatureSet | None = Field(
        default=None, description="Computed from the pixels, side by side. Empty: the pixels themselves."
    )

    @property
    def feature_set(self) -> FeatureSet | None:
        return self.features


@dataclass(frozen=True)
class Parts:
    """Train as cached rows (content_id, features, truth, weight); val as arrays.

    ``inputs`` is what a graph takes of val, uint8[N, H, W, C] or float32[N, D]; ``truth`` int64[N]. ``shape`` is what
    GraphWriter takes.
    """

    train: DataFrame
    inputs: np.ndarray
    truth: np.ndarray
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs.shape[1:]

    @property
    def values(self) -> np.ndarray:
        """Val as MLlib sees it: float64[N, D]."""
        flat = self.inputs.reshape(len(self.inputs), -1)
        return (flat.astype(np.float32) / np.float32(255) if flat.dtype == np.uint8 else flat).astype(np.float64)


def fit_parts(job: Job, trials: Sequence[Trial], fit_one: Callable[[Parts, Trial], Tried]) -> Fitted:
    """Fits a model of MLlib to the job's train once a trial, and keeps what is best on its val."""
    with session() as spark, vector_parts(spark, job) as parts:
        fitted = best_on_val(job, parts.inputs, parts.truth, trials, partial(fit_one, parts))
    return fitted if job.config.feature_set is None else replace(fitted, features=job.fitted_features)


@contextmanager
def vector_parts(spark: SparkSession, job: Job) -> Iterator[Parts]:
    """The job's images as MLlib vectors of pixels, 0..1, or of features. One that is shown n times weighs n times.

    Raises DataError where an image of the split has no example for the config's transform, or lacks a feature.
    """
    from pyspark import StorageLevel

    if job.config.feature_set is None:
        some = job.split.filter(pc.equal(job.split["split"], TRAIN))
        rows = labelled_examples(spark, job.lake, job.dataset, some, job.config.transform, job.classes)
        expected = int((weights_of(part_rows(job.split, TRAIN)) > 0).sum())
    else:
        train = job.features(TRAIN)
        rows, expected = labelled_vectors(spark, train), len(train.truth)
    inputs, truth = val_of(job)
    # On disk: MLlib keeps what it makes of the vectors in memory itself, and both have no room there.
    cached = vectors(rows.filter("weight > 0")).persist(StorageLevel.DISK_ONLY)
    try:
        found = cached.count()
        if found != expected:
            raise DataError(
                f"Examples for the transform {job.config.transform.hash}: {found:,} of train. Expected {expected:,}. "
                "Run the preprocessing step for this config."
            )
        log.info("%s: %s images in train, %s in val", job.config.name, f"{found:,}", f"{len(truth):,}")
        yield Parts(cached, inputs, truth, len(job.classes))
    finally:
        cached.unpersist()


def val_of(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Val as a graph takes it, uint8[N, H, W, C] or float32[N, D], and its truth, int64[N]."""
    if job.config.feature_set is None:
        val = job.examples(VAL)
        return val.pixels, val.truth
    vectors_of_val = job.features(VAL)
    return vectors_of_val.values, vectors_of_val.truth


def against_rest(parts: Parts, fit: Callable[[DataFrame], Any]) -> list[Any]:
    """One model a class, fitted with truth 1 for it and 0 for the others; of two classes the second one's alone."""
    from pyspark.sql import functions as F

    positive = range(parts.classes) if parts.classes > 2 else [1]
    return [fit(parts.train.withColumn("truth", (F.col("truth") == k).cast("double"))) for k in positive]


def columns() -> dict[str, str]:
    """How MLlib's estimators find what they need in the rows of train."""
    return {"featuresCol": "features", "labelCol": "truth", "weightCol": "weight"}


def labelled_vectors(spark: SparkSession, train: Vectors) -> DataFrame:
    """Vectors of features as ``labelled_examples`` gives pixels, without a loop over rows."""
    offsets = pa.array(np.arange(len(train.values) + 1, dtype=np.int32) * train.values.shape[1])
    values = pa.ListArray.from_arrays(offsets, pa.array(train.values.ravel()))
    truth = train.truth.astype(np.float64)
    names = ["content_id", "pixels", "truth", "weight"]
    return _in_order(spark.createDataFrame(pa.table([train.content_ids, values, truth, train.weight], names=names)))


def labelled_examples(
    spark: SparkSession, lake: Storage, dataset: str, split: pa.Table, transform: ImageTransform, classes: Sequence[str]
) -> DataFrame:
    """The images of a split: content_id, pixels (array<float>, 0..1), truth (index), weight of all copies."""
    files = Table(lake, examples_table(dataset)).files({"transform_hash": transform.hash})
    schema = "content_id string, pixels binary"
    stored = spark.read.schema(schema).parquet(*[_spark_uri(uri) for uri in files]) if files else None
    if stored is None:
        raise DataError(f"{dataset} has no example for the transform {transform.hash}. Run the preprocessing step.")
    index = {name: k for k, name in enumerate(classes)}
    truth = [float(index[label]) for label in split["label"].to_pylist()]
    weight = pc.multiply(split["weight"], pc.cast(split["copies"], pa.float64()))
    labels = spark.createDataFrame(pa.table({"content_id": split["content_id"], "truth": truth, "weight": weight}))
    rows = stored.join(labels, on="content_id", how="inner").select("content_id", "pixels", "truth", "weight")
    return _in_order(rows).mapInArrow(_to_floats, _FEATURES_SCHEMA)


def vectors(rows: DataFrame) -> DataFrame:
    """The same rows with ``pixels`` as the MLlib vector ``features``, in their order."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    features = array_to_vector(F.col("pixels")).alias("features")
    return rows.select("content_id", features, "truth", "weight")


def _in_order(rows: DataFrame) -> DataFrame:
    """In two partitions, by content_id. Of pixels it is done while they are bytes: as vectors they take eight times the
    memory, and sorting needs room for all of them."""
    return rows.repartition(2, "content_id").sortWithinPartitions("content_id")


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
        columns = [batch["content_id"], pixels, batch["truth"], batch["weight"]]
        yield pa.RecordBatch.from_arrays(columns, names=["content_id", "pixels", "truth", "weight"])


def _spark_uri(uri: str) -> str:
    """How Spark names an address of the lake."""
    return uri.replace("s3://", "s3a://", 1) if uri.startswith("s3://") else uri
