"""Trains a logistic regression with Spark MLlib from the examples table, and hands it over as an ONNX graph."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from darkroom.contract import TRAIN, VAL, examples_table
from darkroom.errors import DataError
from darkroom.metrics import balanced_accuracy, confusion
from darkroom.storage import Storage
from darkroom.tables import Table
from training.config import MllibConfig
from training.data import class_names
from training.linear_graph import linear_graph

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_FEATURES_SCHEMA = "content_id string, pixels array<float>"


@dataclass(frozen=True)
class TrainedLinear:
    """A trained linear model: its ONNX graph, metrics of each regularisation tried, the one kept, seconds."""

    graph: bytes
    history: list[dict[str, float]]
    best: int  # position in ``history``, from 1
    seconds: float
    model: Any  # pyspark.ml.classification.LogisticRegressionModel


def train_mllib(
    spark: SparkSession, lake: Storage, dataset: str, split: pa.Table, config: MllibConfig
) -> TrainedLinear:
    """Fits one model for each regularisation and keeps the one with the lowest loss on val.

    The loss on val weighs every class alike. An image that an oversampled epoch would show n times weighs n times.
    Raises DataError where an image of the split has no example for the config's transform.
    """
    from pyspark.ml.classification import LogisticRegression

    classes = class_names(split)
    started = time.monotonic()
    rows = vectors(labelled_examples(spark, lake, dataset, split, config, classes)).cache()
    parts = {part: rows.filter(rows["split"] == part) for part in (TRAIN, VAL)}
    expected = {part: split["split"].to_pylist().count(part) for part in parts}
    found = {part: frame.count() for part, frame in parts.items()}
    if found != expected or not expected[VAL]:
        raise DataError(
            f"Examples for the transform {config.transform.hash}: {found}. Expected {expected}, and some of each. "
            "Run the preprocessing step for this config."
        )
    log.info("%s: %s images in train, %s in val", config.name, f"{found[TRAIN]:,}", f"{found[VAL]:,}")
    truth, features = _collected(parts[VAL], config)
    history, models = [], []
    for number, strength in enumerate(config.regularization, 1):
        began = time.monotonic()
        regression = LogisticRegression(
            featuresCol="features",
            labelCol="truth",
            weightCol="weight",
            family="multinomial",
            regParam=strength,
            elasticNetParam=config.elastic_net,
            maxIter=config.max_iterations,
            tol=config.tolerance,
            standardization=config.standardize,
        )
        model = regression.fit(parts[TRAIN])
        models.append(model)
        history.append(
            {
                "regularization": strength,
                **_on_val(model, truth, features, len(classes)),
                "iterations": float(model.summary.totalIterations),
                "seconds": time.monotonic() - began,
            }
        )
        row = history[-1]
        left = (time.monotonic() - began) * (len(config.regularization) - number)
        log.info(
            "fit %d/%d  strength %g  val loss %.3f  val balanced accuracy %.3f  %d iterations  %.1f s, %.0f s left",
            *(number, len(config.regularization), strength, row["val_loss"], row["val_balanced_accuracy"]),
            *(row["iterations"], row["seconds"], left),
        )
    rows.unpersist()
    best = int(np.argmin([row["val_loss"] for row in history]))
    log.info("Kept regularization %g", config.regularization[best])
    graph = linear_graph(*_weights(models[best]), config.transform.shape)
    return TrainedLinear(graph, history, best + 1, time.monotonic() - started, models[best])


def labelled_examples(
    spark: SparkSession, lake: Storage, dataset: str, split: pa.Table, config: MllibConfig, classes: Sequence[str]
) -> DataFrame:
    """The train and val images: content_id, pixels (array<float>, 0..1), split, truth (index), weight of all copies."""
    files = Table(lake, examples_table(dataset)).files({"transform_hash": config.transform.hash})
    schema = "content_id string, pixels binary"
    stored = spark.read.schema(schema).parquet(*[_spark_uri(uri) for uri in files]) if files else None
    if stored is None:
        raise DataError(
            f"{dataset} has no example for the transform {config.transform.hash}. Run the preprocessing step."
        )
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


def _collected(rows: DataFrame, config: MllibConfig) -> tuple[np.ndarray, np.ndarray]:
    """int64[N] truth and float64[N, features] of a small part."""
    from pyspark.ml.functions import vector_to_array

    found = rows.select("truth", vector_to_array(rows["features"]).alias("features")).toArrow()
    features = found["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    width = int(np.prod(config.transform.shape))
    return found["truth"].to_numpy().astype(np.int64), features.reshape(-1, width)


def _on_val(model: Any, truth: np.ndarray, features: np.ndarray, classes: int) -> dict[str, float]:
    coefficients, intercepts = _weights(model)
    margins = features @ coefficients.T + intercepts
    margins -= margins.max(axis=1, keepdims=True)
    shares = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    weight = (1.0 / np.maximum(np.bincount(truth, minlength=classes), 1))[truth]
    loss = np.average(-np.log(np.clip(shares[np.arange(len(truth)), truth], 1e-7, 1)), weights=weight)
    matrix = confusion(truth, shares.argmax(axis=1), classes)
    return {"val_loss": float(loss), "val_balanced_accuracy": float(balanced_accuracy(matrix))}


def _weights(model: Any) -> tuple[np.ndarray, np.ndarray]:
    return model.coefficientMatrix.toArray(), model.interceptVector.toArray()


def _spark_uri(uri: str) -> str:
    """How Spark names an address of the lake."""
    return uri.replace("s3://", "s3a://", 1) if uri.startswith("s3://") else uri
