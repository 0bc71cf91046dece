"""A blend: the weighted mean of its members, through one package, whatever they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.errors import InvalidRequest
from darkroom.features import FeatureSet
from darkroom.model import load_package
from darkroom.transform import ImageTransform
from tests.packages import TRANSFORM, write_features
from tests.suites.training import World, world
from training.config import load_config, parse_config
from training.data import read_examples, read_split
from training.kinds.blend import likeliest_weights

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture

FEATURES: list[dict[str, Any]] = [{"kind": "pixels", "side": 4}, {"kind": "pixels", "side": 2}]
MEMBERS = """
members:
  - {kind: by_mean, sharpness: 20}
  - {kind: svm, features: [{kind: pixels, side: 2}], cost: [1]}
  - {kind: logistic_regression, features: [{kind: pixels, side: 4}, {kind: pixels, side: 2}]}
"""


def predictions(world: World, result: dict[str, Any]) -> np.ndarray:
    test = read_examples(world.lake, "lamps", read_split(world.lake, "lamps", "s1"), "test", TRANSFORM)
    return load_package(world.lake, result["package"]).predict(test.pixels)


def it_says_the_mean_of_what_its_members_say(world: World) -> None:
    write_features(world.lake, "lamps", TRANSFORM, FeatureSet.model_validate(FEATURES))
    plain = "calibration: none\n"
    world.config("mean", f"sharpness: 20\n{plain}")
    world.config("svm", f"kind: svm\nfeatures: [{{kind: pixels, side: 2}}]\ncost: [1]\n{plain}")
    world.config("logistic", f"kind: logistic_regression\nfeatures: {FEATURES}\n{plain}")
    world.config("all", f"kind: blend\nweights: equal\n{plain}{MEMBERS}")
    alone = [predictions(world, world.train(name)) for name in ("mean", "svm", "logistic")]
    together = world.train("all")
    np.testing.assert_allclose(predictions(world, together), np.mean(alone, axis=0), atol=1e-5)
    assert world.train("all")["package_id"] == together["package_id"]
    model = load_package(world.lake, together["package"])
    flat = np.zeros((2, *TRANSFORM.shape), np.uint8)
    np.testing.assert_array_equal(model.predict(flat)[0], model.predict(flat[:1])[0])


def it_counts_a_member_more_that_explains_val_better() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.uniform(0.7, 0.9, 500), rng.uniform(0.2, 0.4, 500)
    chances, counts = np.stack([good, bad, good], axis=1), np.ones(500)
    weights = likeliest_weights(chances, counts)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(weights[2])
    assert weights[1] < 0.05 < weights[0]
    few = likeliest_weights(chances[:2], counts[:2])
    assert abs(few - 1 / 3).max() < 0.1
    sure_and_wrong = np.stack([good, np.zeros(500)], axis=1)
    assert likeliest_weights(sure_and_wrong, counts)[1] == pytest.approx(5 / 510, rel=0.01)
    assert likeliest_weights(np.empty((0, 2)), np.empty(0)).tolist() == [0.5, 0.5]


def it_weighs_its_members_by_what_they_say_of_val(world: World) -> None:
    write_features(world.lake, "lamps", TRANSFORM, FeatureSet.model_validate(FEATURES))
    members = "members:\n  - {kind: by_mean, sharpness: 20}\n  - {kind: by_mean, sharpness: 0.001}\n"
    world.config("both", f"kind: blend\ncalibration: none\n{members}")
    world.config("sharp", "kind: by_mean\nsharpness: 20\ncalibration: none\n")
    both, sharp = (predictions(world, world.train(name)) for name in ("both", "sharp"))
    share = (both - 0.5) / np.where(np.abs(sharp - 0.5) < 1e-3, np.nan, sharp - 0.5)
    assert 0.5 < np.nanmean(share) < 1


def it_asks_for_the_features_of_all_members_once() -> None:
    config = parse_config(
        {"name": "b", "kind": "blend", "members": ["hog_svm", "resnet_small", "hog_logistic_regression"]}
    )
    assert config.feature_set is not None
    assert [feature.kind for feature in config.feature_set.features] == ["hog", "lbp"]
    assert parse_config({"name": "b", "kind": "blend", "members": ["small_cnn", "resnet_small"]}).feature_set is None


def it_names_other_configs_by_their_options() -> None:
    named = parse_config({"name": "b", "kind": "blend", "members": ["hog_svm", "small_cnn"]})
    kind, features = "svm", load_config("hog_svm").model_dump(mode="json")["features"]
    written = [{"kind": kind, "features": features, "cost": [0.3, 3, 30]}, named.model_dump()["members"][1]]
    assert parse_config({"name": "b", "kind": "blend", "members": written}).digest == named.digest
    changed = [{**written[0], "cost": [1]}, written[1]]
    assert parse_config({"name": "b", "kind": "blend", "members": changed}).digest != named.digest
    wide = ImageTransform(width=96, height=96).model_dump(mode="json")
    found = parse_config({"name": "b", "kind": "blend", "members": ["hog_svm", "small_cnn"], "transform": wide})
    assert {member.transform.width for member in found.member_configs()} == {96}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (["hog_svm"], "at least 2"),
        (["hog_svm", "nothing"], "no training config 'nothing'"),
        (["hog_svm", "logistic_regression"], "mllib_logistic_regression cannot be blended"),
        (["hog_svm", "pyfunc"], "pyfunc cannot be blended"),
        (["hog_svm", "blend"], "blend cannot be blended"),
        (["hog_svm", "incremental"], "incremental keeps features in its state"),
        (["hog_svm", {"kind": "svm", "kernel": "cubic"}], "kernel"),
        (["hog_svm", {"kind": "torch"}], "torch"),
        (["hog_svm", {"kind": "svm", "calibration": "none", "evaluate": "kfold"}], "has evaluate, calibration"),
        ("hog_svm", "members"),
    ],
)
def it_refuses_members_that_cannot_be(members: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        parse_config({"name": "b", "kind": "blend", "members": members})


def it_refuses_a_blend_that_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.config.CONFIG_FOLDER", tmp_path)
    for name, member in {"one": "one", "two": "three", "three": "two"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"kind: blend\nmembers: [{member}, {{kind: small_cnn}}]\n")
    for name in ("one", "two"):
        with pytest.raises(InvalidRequest, match="blend cannot be blended"):
            load_config(name)
    inside = {"kind": "blend", "members": [{"kind": "blend", "members": ["one", "two"]}, {"kind": "small_cnn"}]}
    with pytest.raises(InvalidRequest, match="blend cannot be blended"):
        parse_config({"name": "b", **inside})
