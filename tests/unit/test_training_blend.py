"""A blend: the mean of its members, through one package, whatever they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from darkroom.errors import InvalidRequest
from darkroom.features import FeatureSet
from darkroom.model import load_package
from darkroom.transform import ImageTransform
from tests.packages import TRANSFORM, write_features
from tests.suites.training import World, empty_store, world
from training.config import load_config, parse_config
from training.data import read_examples, read_split

pytestmark = pytest.mark.unit

__all__ = ["empty_store", "world"]  # fixtures

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
    world.config("all", f"kind: blend\n{plain}{MEMBERS}")
    alone = [predictions(world, world.train(name)) for name in ("mean", "svm", "logistic")]
    together = world.train("all")
    np.testing.assert_allclose(predictions(world, together), np.mean(alone, axis=0), atol=1e-5)
    assert world.train("all")["package_id"] == together["package_id"]
    model = load_package(world.lake, together["package"])
    flat = np.zeros((2, *TRANSFORM.shape), np.uint8)
    np.testing.assert_array_equal(model.predict(flat)[0], model.predict(flat[:1])[0])


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
        (["hog_svm", "blend"], "blend cannot be blended"),
        (["hog_svm", {"kind": "svm", "kernel": "cubic"}], "kernel"),
        (["hog_svm", {"kind": "torch"}], "torch"),
        ("hog_svm", "members"),
    ],
)
def it_refuses_members_that_cannot_be(members: Any, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        parse_config({"name": "b", "kind": "blend", "members": members})
