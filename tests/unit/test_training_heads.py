"""Heads of scikit-learn on features: the package says what the library says, whatever the features are like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import splits_table
from darkroom.errors import DataError
from darkroom.model import load_package
from darkroom.package import pack
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from tests.packages import CLASSES, TRANSFORM, package_info, write_dataset, write_features
from training.classical.graphs import graph_probabilities
from training.classical.heads import HeadConfig
from training.classical.trials import Tried
from training.classical.vectors import Vectors
from training.config import parse_config
from training.data import read_split
from training.kinds import Job, kind_of

pytestmark = pytest.mark.unit

FEATURES = [{"kind": "lbp", "grid": 1}, {"kind": "pixels", "side": 4}]
HEADS: dict[str, dict[str, Any]] = {
    "logistic_regression": {"inverse_regularization": [0.01, 1.0]},
    "svm": {"kernel": "linear", "cost": [0.1, 1.0]},
    "svm rbf": {"cost": [1.0]},
    "random_forest": {"trees": 20, "leaf_images": [1, 4]},
    "gradient_boosting": {"leaves": [4], "rounds": 20},
}


def config(head: str, **changes: Any) -> Any:
    fields = {"transform": TRANSFORM.model_dump(mode="json"), "features": FEATURES, **HEADS[head]}
    return parse_config({"name": "mine", "kind": head.partition(" ")[0], **fields, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A lake with a dataset and its features."""
    lake = open_storage(str(tmp_path_factory.mktemp("heads") / "lake"))
    write_dataset(lake, "lamps", [TRANSFORM])
    write_features(lake, "lamps", TRANSFORM, config("svm").features)
    return lake


def job(lake: Storage, wanted: HeadConfig) -> Job:
    return Job(lake, "lamps", read_split(lake, "lamps", "s1"), wanted, 0)


def drawn(classes: int, count: int = 240, length: int = 30, seed: int = 0) -> Vectors:
    """Clouds of points that overlap, some columns constant, one large with little spread, one of halves."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    values = rng.normal(size=(count, length)) + 2.0 * np.eye(classes, length)[truth]
    values[:, -4] = np.round(values[:, 0] * 2) / 2
    values[:, -3] = 0
    values[:, -2] = 7.25
    values[:, -1] = 40_000 + values[:, 1] * 0.1
    groups = [f"g{number // 2}" for number in range(count)]
    weight = rng.uniform(0.2, 3, count)
    names = tuple("abcd"[:classes])
    return Vectors(groups, values.astype(np.float32), truth, weight, groups, names)


def fitted_trial(head: str, train: Vectors, val: Vectors) -> Tried:
    wanted = config(head)
    module: Any = kind_of(wanted.kind)
    trial = {"svm": {"cost": 1.0, "width": 1.0}, "logistic_regression": {"inverse_regularization": 0.1}}.get(
        wanted.kind, {"leaf_images": 2.0, "leaves": 4.0}
    )
    seeded = () if wanted.kind == "logistic_regression" else (0,)
    tried: Tried = module.fit_one(wanted, *seeded, train, val, trial)
    return tried


def theirs(model: Any, values: np.ndarray, train: Vectors, wanted: Any) -> np.ndarray:
    """What the library itself says of vectors."""
    from training.classical.heads import Scaling

    if hasattr(model, "probabilities"):
        return np.asarray(model.probabilities(values))
    if wanted.kind == "logistic_regression":
        values = Scaling.of(train.values, train.weight).apply(values)
    return np.asarray(model.predict_proba(values))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("head", HEADS)
def it_says_in_a_graph_what_the_library_says(head: str, classes: int) -> None:
    train, val = drawn(classes), drawn(classes, 60, seed=1)
    tried = fitted_trial(head, train, val)
    edges = np.concatenate([val.values, train.values[:40], np.zeros((1, 30), np.float32)])
    ours = graph_probabilities(tried.graph, edges)
    np.testing.assert_allclose(
        ours, theirs(tried.model, edges, train, config(head)), atol=2e-6 if head != "svm" else 1e-5
    )
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-6)
    assert (ours[: len(val.truth)].argmax(1) == val.truth).mean() > 1.4 / classes


@pytest.mark.parametrize("head", HEADS)
def it_fits_val_chooses_and_a_package_predicts(world: Storage, head: str, tmp_path: Any) -> None:
    wanted = config(head)
    steps: list[int] = []
    the_job = replace(job(world, wanted), on_step=lambda step, values: steps.append(step))
    fitted = kind_of(wanted.kind).fit(the_job)
    assert fitted.features is not None
    assert steps == list(range(1, len(fitted.history) + 1))
    best = min(fitted.history, key=lambda row: row["val_loss"])
    assert all(best[name.removeprefix("kept_")] == fitted.facts[name] for name in fitted.facts if "kept" in name)
    assert best["val_balanced_accuracy"] > 0.95
    named = {"features": wanted.features.model_dump(mode="json"), "features_hash": wanted.features.hash}
    model = load_package(world, pack(package_info(**named), fitted.graph, features=fitted.features), threads=2)
    val = the_job.examples("val")
    said = model.predict(val.pixels)
    assert (said.argmax(1) == val.truth).mean() > 0.95
    again = kind_of(wanted.kind).fit(job(world, wanted))
    assert again.graph == fitted.graph


@pytest.mark.parametrize("count", [4, 60])
@pytest.mark.parametrize("head", HEADS)
def it_is_unsure_of_images_without_features(head: str, count: int) -> None:
    train, val = drawn(2, count), drawn(2, 20, seed=1)
    weight = 1 / np.bincount(train.truth)[train.truth]
    train = replace(train, values=np.zeros_like(train.values), weight=weight)
    ours = graph_probabilities(fitted_trial(head, train, val).graph, np.zeros((3, 30), np.float32))
    assert ours.min() > 0.2
    assert np.ptp(ours, axis=0).max() == 0


def it_orders_classes_as_the_split_does(world: Storage) -> None:
    vectors = job(world, config("svm")).features("train")
    assert vectors.classes == CLASSES
    assert vectors.values.dtype == np.float32
    assert sorted(vectors.content_ids) == vectors.content_ids


def it_calibrates_on_val_where_folds_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    from training.kinds import svm

    caplog.set_level("INFO")
    train, val = drawn(2), drawn(2, 60, seed=1)
    train = replace(train, group=[str(label) for label in train.truth])
    machine = svm.fit_one(config("svm rbf"), 0, train, val, {"cost": 1.0, "width": 1.0}).model
    assert "fitted to val" in caplog.text
    assert (machine.probabilities(val.values).argmax(1) == val.truth).mean() > 0.6


def it_draws_a_share_of_each_class_of_too_many_images() -> None:
    from training.classical.heads import sample

    many = drawn(3, 300)
    some = sample(many, 90, 0)
    assert len(some.truth) == len(some.content_ids) == 90
    np.testing.assert_allclose(np.bincount(some.truth) / 90, np.bincount(many.truth) / 300, atol=0.02)
    assert sample(many, 300, 0) is many


def it_leaves_out_what_weighs_nothing_and_refuses_a_class_of_nothing(world: Storage, tmp_path: Any) -> None:
    lake = open_storage(str(tmp_path / "lake"))
    write_dataset(lake, "lamps", [TRANSFORM])
    write_features(lake, "lamps", TRANSFORM, config("svm").features)
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    for weightless, told in ((5, None), (10_000, "images of BRIGHT weigh 0")):
        changed = [dict(row) for row in rows]
        for row in [row for row in changed if row["label"] == "BRIGHT" and row["split"] == "train"][:weightless]:
            row["weight"] = 0.0
        table.commit({"split_id": "s1"}, pa.Table.from_pylist(changed, schema=table.spec.schema), {})
        if told is None:
            assert len(job(lake, config("svm")).features("train").truth) == 55
        else:
            with pytest.raises(DataError, match=told):
                job(lake, config("svm")).features("train")


def it_tells_of_features_that_are_no_numbers(world: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom.features import FittedFeatures

    def poisoned(self: FittedFeatures, raws: Any) -> np.ndarray:
        values = np.zeros((len(raws[0]), self.length), np.float32)
        values[3, 2] = np.nan
        return values

    monkeypatch.setattr(FittedFeatures, "encode", poisoned)
    with pytest.raises(DataError, match=r"1 images have features that are no numbers.*lbp_2 is nan"):
        job(world, config("svm")).features("train")


def it_says_which_feature_is_not_made_yet(world: Storage) -> None:
    with pytest.raises(DataError, match="lack the feature haralick"):
        job(world, config("svm", features=["haralick"])).features("train")
