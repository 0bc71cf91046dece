"""MLlib's models and the ONNX graphs made of them: the same probabilities from both."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import examples_table, splits_table
from darkroom.errors import DataError
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from tests.packages import TRANSFORM, package_info, write_dataset, write_features
from training.classical.graphs import graph_probabilities
from training.classical.mllib import Parts, _to_floats, labelled_vectors, vector_parts, vectors
from training.classical.threshold_table import accuracy_by_threshold
from training.classical.vectors import Vectors
from training.config import parse_config
from training.data import read_split
from training.kinds import Job, kind_of
from training.kinds.mllib_linear_regression import regression_facts

pytestmark = pytest.mark.unit


HUNGRY = """
from training.classical.mllib import session
try:
    with session() as spark:
        many = "sequence(id, id + 1000000000)"
        spark.range(1).selectExpr(f"{many} AS many").selectExpr("many[7]", "size(many)").collect()
except MemoryError as error:
    print("ran out:", error)
"""

FAST: dict[str, dict[str, Any]] = {
    "mllib_logistic_regression": {"max_iterations": 20},
    "mllib_linear_regression": {"regularization": [0.1]},
    "mllib_decision_tree": {"depth": [4], "leaf_images": 1},
    "mllib_random_forest": {"depth": [4], "trees": 5},
    "mllib_gbt": {"rounds": [4], "depth": 3, "leaf_images": 1},
    "mllib_linear_svc": {"regularization": [0.1], "max_iterations": 10},
}


def config(kind: str = "mllib_logistic_regression", **changes: Any) -> Any:
    transform = TRANSFORM.model_dump(mode="json")
    return parse_config({"name": "linear", "kind": kind, "transform": transform, **FAST[kind], **changes})


def job_of(lake: Storage, kind: str = "mllib_logistic_regression", **changes: Any) -> Job:
    return Job(lake, "lamps", read_split(lake, "lamps", "s1"), config(kind, **changes), 0)


def labels_of_three(lake: Storage) -> None:
    """Every third image is of another class, which has a stripe."""
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    for number, row in enumerate(rows):
        row["label"] = "STRIPE" if number % 3 == 0 else row["label"]
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(rows, schema=table.spec.schema), {})


def one_fit(spark: Any, job: Job) -> tuple[Any, bytes, Parts, Any]:
    """A trial of the job's kind: model, graph, the parts, and val as rows that MLlib predicts."""
    module: Any = kind_of(job.config.kind)
    trial = {
        name: float(tried[0])
        for name, tried in job.config.model_dump().items()
        if name in OPTIONS and not isinstance(tried, int)
    }
    seeded = () if name_of_seedless(job.config.kind) else (0,)
    with vector_parts(spark, job) as parts:
        tried = module.fit_one(job.config, *seeded, parts, trial)
    ids = [f"{row:04}" for row in range(len(parts.truth))]
    weight = np.ones(len(ids))
    val = Vectors(ids, parts.values.astype(np.float32), parts.truth, weight, ids, job.classes)
    return tried.model, tried.graph, parts, vectors(labelled_vectors(spark, val)).orderBy("content_id")


OPTIONS = ("regularization", "depth", "rounds")


def name_of_seedless(kind: str) -> bool:
    return kind in ("mllib_logistic_regression", "mllib_linear_regression", "mllib_linear_svc")


def said(model: Any, rows: Any, column: str) -> np.ndarray:
    """What MLlib says of the rows, float64[N] or [N, K]."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    value = F.col(column) if column == "prediction" else vector_to_array(column)
    return np.array(model.transform(rows).select(value.alias("p")).toArrow()["p"].to_pylist())


def theirs(kind: str, model: Any, rows: Any) -> np.ndarray:
    """MLlib's own probabilities float[N, classes]; where it has none, from what it predicts."""
    if kind == "mllib_linear_svc":
        models, calibration = model
        margins = np.stack([said(one, rows, "rawPrediction")[:, 1] for one in models], axis=1)
        return np.asarray(calibration.predict_proba(margins))
    if not isinstance(model, list):
        return said(model, rows, "probability")
    if kind == "mllib_linear_regression":
        shares = np.stack([np.clip(said(one, rows, "prediction"), 0, 1) for one in model], axis=1)
    else:
        shares = np.stack([said(one, rows, "probability")[:, 1] for one in model], axis=1)
    return np.hstack([1 - shares, shares]) if len(model) == 1 else shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", FAST)
def it_says_in_a_graph_what_mllib_says(spark: Any, lake: Storage, kind: str) -> None:
    write_dataset(lake, "lamps", [TRANSFORM])
    if kind in ("mllib_random_forest", "mllib_linear_regression", "mllib_linear_svc"):
        labels_of_three(lake)
    job = job_of(lake, kind)
    model, graph, parts, rows = one_fit(spark, job)
    ours = graph_probabilities(graph, parts.inputs)
    assert ours.shape == (40, len(job.classes))
    np.testing.assert_allclose(ours, theirs(kind, model, rows), atol=1e-5)
    bright = ours[:, 0] > ours[:, 1]
    known = parts.truth < 2
    assert (bright[known] == (parts.truth[known] == 0)).mean() > 0.9
    assert np.ptp(ours[:, 0]) > 0.1


def it_boosts_each_of_three_classes(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=30, other=12)
    labels_of_three(lake)
    model, graph, parts, rows = one_fit(spark, job_of(lake, "mllib_gbt", rounds=[2], depth=2))
    np.testing.assert_allclose(graph_probabilities(graph, parts.inputs), theirs("mllib_gbt", model, rows), atol=1e-5)


def it_trains_on_features_and_keeps_the_best_on_val(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM])
    job = job_of(lake, "mllib_decision_tree", depth=[1, 3], features=["lbp", {"kind": "pixels", "side": 4}])
    write_features(lake, "lamps", TRANSFORM, job.config.features)
    fitted = kind_of("mllib_decision_tree").fit(job)
    assert len(fitted.history) == 2
    assert fitted.features is not None
    kept = next(row for row in fitted.history if row["depth"] == fitted.facts["kept_depth"])
    assert kept["val_loss"] == min(row["val_loss"] for row in fitted.history)
    named = {"features": job.config.features.model_dump(mode="json"), "features_hash": job.config.features.hash}
    model = load_package(lake, pack(package_info(**named), fitted.graph, features=fitted.features))
    val = job.examples("val")
    assert (model.predict(val.pixels).argmax(1) == val.truth).mean() > 0.9


def it_tells_how_far_a_regression_is_off_and_what_a_threshold_does(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=40, other=20)
    fitted = kind_of("mllib_linear_regression").fit(job_of(lake, "mllib_linear_regression"))
    assert 0 < fitted.facts["val_rmse"] < 0.5
    assert 0.5 < fitted.facts["val_r2"] < 1
    assert fitted.figures["accuracy_by_threshold_val.png"].startswith(b"\x89PNG")
    lines = fitted.figures["accuracy_by_threshold_val.csv"].decode().splitlines()
    assert lines[0] == "threshold,accuracy,recall_of_positive,recall_of_negative"
    assert lines[1] == "0,0.5,1,0"
    assert float(lines[51].split(",")[1]) > 0.9
    assert len(lines) == 102


def it_measures_a_regression_as_textbooks_do() -> None:
    wanted, predicted = np.array([[0.0], [1.0], [1.0], [0.0]]), np.array([[0.5], [1.0], [0.5], [0.0]])
    facts = regression_facts(wanted, predicted)
    assert facts == {"val_rmse": pytest.approx(np.sqrt(0.125)), "val_r2": pytest.approx(0.5)}
    assert regression_facts(wanted[:1], predicted[:1]) == {"val_rmse": pytest.approx(0.5)}


def it_counts_accuracy_at_every_threshold() -> None:
    columns = accuracy_by_threshold(np.array([True, False, True]), np.array([0.9, 0.4, 0.6]))
    assert columns["accuracy"][[0, 40, 41, 60, 61, 100]].tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    assert np.isnan(accuracy_by_threshold(np.array([True]), np.array([0.9]))["recall_of_negative"]).all()


def it_refuses_a_class_whose_images_weigh_nothing(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=10, other=4)
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    light = [row | {"weight": 0.0 if row["label"] == "DARK" else 1.0} for row in rows]
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(light, schema=table.spec.schema), {})
    with pytest.raises(DataError, match="images of DARK weigh 0"):
        kind_of("mllib_decision_tree").fit(job_of(lake, "mllib_decision_tree"))


def it_refuses_a_split_without_examples(spark: Any, lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM])
    with pytest.raises(DataError, match="no example for the transform"):
        kind_of("mllib_gbt").fit(job_of(lake, "mllib_gbt", transform={"width": 8, "height": 8}))
    table = Table(lake, examples_table("lamps"))
    some = table.read({"transform_hash": TRANSFORM.hash}).slice(0, 100)
    table.commit({"transform_hash": TRANSFORM.hash}, some, {})
    with pytest.raises(DataError, match="Run the preprocessing step"):
        kind_of("mllib_gbt").fit(job_of(lake, "mllib_gbt"))


def it_turns_bytes_into_floats_without_looking_at_rows() -> None:
    pixels = [bytes([0, 51, 255]), bytes([255, 0, 102]), bytes([1, 2, 3])]
    told = {"truth": [0.0, 1.0, 0.0], "weight": [1.0, 2.0, 0.5]}
    batch = pa.record_batch({"content_id": ["a", "b", "c"], "pixels": pa.array(pixels, pa.binary()), **told})
    for part in (batch, batch.slice(1, 2)):
        found = next(_to_floats(iter([part])))
        expected = [[value / 255 for value in row] for row in part["pixels"].to_pylist()]
        np.testing.assert_allclose(found["pixels"].to_pylist(), expected, rtol=1e-6)
        for name in ("content_id", "truth", "weight"):
            assert found[name].to_pylist() == part[name].to_pylist()
    assert list(_to_floats(iter([batch.slice(0, 0)]))) == []


def it_reads_color(spark: Any, lake: Storage) -> None:
    rgb = ImageTransform(width=4, height=6, color="rgb")
    write_dataset(lake, "lamps", [rgb], train=20, other=10)
    job = job_of(lake, transform=rgb.model_dump(mode="json"))
    graph = kind_of(job.config.kind).fit(job).graph
    info = package_info(transform=rgb.model_dump(mode="json"), transform_hash=rgb.hash, input_shape=rgb.shape)
    assert load_package(lake, pack(info, graph)).predict(job.examples("val").pixels).shape == (10, 2)


def it_says_that_spark_ran_out_of_memory() -> None:
    """Its JVM ends, so in a process of its own."""
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True, check=False)
    assert re.search(r"ran out: Spark's JVM has \d+g \(spark.driver.memory\)", done.stdout), done.stderr[-3000:]
