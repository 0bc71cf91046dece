"""MLlib's logistic regression and the ONNX graph made of it: the same probabilities from both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import examples_table, splits_table
from darkroom.errors import DataError
from darkroom.model import load_package, pack
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from tests.packages import CLASSES, TRANSFORM, package_info, write_dataset
from training.config import parse_config
from training.data import read_examples, read_split
from training.kinds import Fitted, Job
from training.kinds.mllib_logistic_regression import Config, fit, fit_models
from training.mllib import _to_floats, labelled_examples, vectors

pytestmark = pytest.mark.unit


def linear(**changes: Any) -> Config:
    transform = TRANSFORM.model_dump(mode="json")
    found = parse_config({"name": "linear", "kind": "mllib_logistic_regression", "transform": transform, **changes})
    assert isinstance(found, Config)
    return found


def trained(lake: Storage, **changes: Any) -> Fitted:
    return fit(Job(lake, "lamps", read_split(lake, "lamps", "s1"), linear(**changes), 0))


def it_gives_the_same_probabilities_as_mllib(spark: Any, lake: Storage) -> None:
    from pyspark.ml.functions import vector_to_array

    write_dataset(lake, "lamps", [TRANSFORM])
    split = read_split(lake, "lamps", "s1")
    job = Job(lake, "lamps", split, linear(regularization=[0.001, 0.1]), 0)
    model, history, best = fit_models(spark, job)
    rows = vectors(labelled_examples(spark, lake, "lamps", split, TRANSFORM, CLASSES))
    said = model.transform(rows).select("content_id", vector_to_array("probability").alias("p")).toArrow()
    theirs = dict(zip(said["content_id"].to_pylist(), said["p"].to_pylist(), strict=True))
    val = read_examples(lake, "lamps", split, "val", TRANSFORM)
    ours = load_package(lake, pack(package_info(), fit(job).graph)).predict(val.pixels)
    np.testing.assert_allclose(ours, [theirs[key] for key in val.content_ids], atol=1e-4)
    assert len(history) == 2
    assert history[best]["val_loss"] == min(row["val_loss"] for row in history)
    assert history[best]["val_balanced_accuracy"] > 0.95


def it_trains_on_three_classes(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM])
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    for number, row in enumerate(rows):
        row["label"] = ("a", "b", "c")[number % 3]
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(rows, schema=table.spec.schema), {})
    graph = trained(lake, max_iterations=3).graph
    info = package_info(classes=("a", "b", "c"), positive_class=None, threshold=None)
    pixels = np.zeros((2, *TRANSFORM.shape), np.uint8)
    assert load_package(lake, pack(info, graph)).predict(pixels).shape == (2, 3)


def it_refuses_a_split_without_examples(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM])
    with pytest.raises(DataError, match="no example for the transform"):
        trained(lake, transform={"width": 8, "height": 8})
    table = Table(lake, examples_table("lamps"))
    some = table.read({"transform_hash": TRANSFORM.hash}).slice(0, 100)
    table.commit({"transform_hash": TRANSFORM.hash}, some, {})
    with pytest.raises(DataError, match="Run the preprocessing step"):
        trained(lake)


def it_turns_bytes_into_floats_without_looking_at_rows() -> None:
    pixels = [bytes([0, 51, 255]), bytes([255, 0, 102]), bytes([1, 2, 3])]
    batch = pa.record_batch({"content_id": ["a", "b", "c"], "pixels": pa.array(pixels, pa.binary())})
    for part in (batch, batch.slice(1, 2)):
        found = next(_to_floats(iter([part])))
        expected = [[value / 255 for value in row] for row in part["pixels"].to_pylist()]
        np.testing.assert_allclose(found["pixels"].to_pylist(), expected, rtol=1e-6)
        assert found["content_id"].to_pylist() == part["content_id"].to_pylist()
    assert list(_to_floats(iter([batch.slice(0, 0)]))) == []


def it_reads_color(spark: Any, lake: Storage) -> None:
    rgb = ImageTransform(width=4, height=6, color="rgb")
    write_dataset(lake, "lamps", [rgb], train=20, other=10)
    split = read_split(lake, "lamps", "s1")
    graph = trained(lake, transform=rgb.model_dump(mode="json")).graph
    info = package_info(transform=rgb.model_dump(mode="json"), transform_hash=rgb.hash, input_shape=rgb.shape)
    val = read_examples(lake, "lamps", split, "val", rgb)
    assert load_package(lake, pack(info, graph)).predict(val.pixels).shape == (10, 2)
