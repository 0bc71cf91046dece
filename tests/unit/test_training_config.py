"""Training configs: strict, named, and with a digest of every option."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from darkroom.errors import InvalidRequest
from darkroom.features import feature_kinds
from darkroom.settings import Settings
from training.config import CONFIG_FOLDER, known_configs, load_config, parse_config, wanted_features

pytestmark = pytest.mark.unit


def it_loads_those_that_the_demo_trains() -> None:
    cnn, linear = load_config("small_cnn"), load_config("logistic_regression")
    assert cnn.kind == "small_cnn"
    assert linear.kind == "mllib_logistic_regression"
    assert cnn.transform.shape == (64, 64, 1)
    assert linear.transform.shape == (32, 32, 1)
    assert cnn.primary_metric == linear.primary_metric == "balanced_accuracy"


def it_names_the_known_ones_when_asked_for_another() -> None:
    with pytest.raises(InvalidRequest, match=r"'resnet'.*logistic_regression.*small_cnn"):
        load_config("resnet")
    with pytest.raises(InvalidRequest):
        load_config("../configs/small_cnn")


def it_changes_its_digest_with_any_option() -> None:
    base = parse_config({"name": "a", "kind": "small_cnn"})
    assert base.digest == parse_config({"name": "a", "kind": "small_cnn", "epochs": base.model_dump()["epochs"]}).digest
    recall = {"threshold": {"aim": "recall", "of": "x", "at_least": 0.95}}
    shared = ({"seed": 1}, {"positive_class": "x"}, {"calibration": "none"}, recall)
    for change in (*shared, {"model": {"dropout": 0.3}}, {"transform": {"width": 32}}):
        assert parse_config({"name": "a", "kind": "small_cnn", **change}).digest != base.digest


def it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_config("small_cnn").seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: small_cnn\nepoch: 3", "epoch"),
        ("kind: torch", "'torch'.*mllib_logistic_regression.*small_cnn"),
        ("kind: ../config", "one of"),
        ("kind: [small_cnn]", "one of"),
        ("{}", "kind None"),
        ("- a", "Expected a mapping"),
        ("a: [", "not YAML"),
        ("kind: small_cnn\nname: other", "calls itself 'other'"),
        ("kind: small_cnn\nepochs: 0", "epochs"),
        ("kind: small_cnn\nmodel: {filters: []}", "filters"),
        ("kind: small_cnn\ntransform: {width: 0}", "width"),
        ("kind: mllib_logistic_regression\nregularization: []", "regularization"),
        ("kind: mllib_logistic_regression\nepochs: 3", "epochs"),
        ("kind: small_cnn\nprimary_metric: vibes", "primary_metric"),
        ("kind: small_cnn\ncalibration: isotonic", "calibration"),
        ("kind: small_cnn\nthreshold: {aim: recall, of: a}", "at_least"),
        ("kind: small_cnn\nthreshold: {aim: luck}", "threshold"),
        ("kind: small_cnn\nfeatures: [hog]", "features"),
        ("kind: svm\nfeatures: [surf]", "surf"),
        ("kind: svm\nfeatures: []", "at least one"),
        ("kind: svm\nfeatures: [{kind: hog, cell: 1}]", "features"),
        ("kind: svm\nkernel: cubic", "kernel"),
    ],
)
def it_refuses_a_wrong_file(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=told):
        load_config("mine", tmp_path)


def it_lies_beside_the_code() -> None:
    assert CONFIG_FOLDER.is_dir()


@pytest.mark.parametrize("name", known_configs())
def it_comes_with_features_that_its_pixels_allow(name: str) -> None:
    config = load_config(name)
    assert config.description
    if config.feature_set is not None:
        config.feature_set.check(config.transform.shape)
        assert config.input_hash != config.transform.hash
    else:
        assert config.input_hash == config.transform.hash


def it_has_every_feature_in_some_yaml() -> None:
    sets = [load_config(name).feature_set for name in known_configs()]
    assert {one.kind for found in sets if found for one in found.features} == set(feature_kinds())


def it_asks_for_each_pair_of_transform_and_features_once() -> None:
    same = [parse_config({"name": name, "kind": "svm", "features": ["hog"]}) for name in ("a", "b")]
    other = parse_config({"name": "c", "kind": "svm", "features": ["lbp"]})
    wanted = wanted_features([*same, other, parse_config({"name": "d", "kind": "small_cnn"})])
    assert [[one["kind"] for one in each["features"]] for each in wanted] == [["hog"], ["lbp"]]
    assert wanted[0]["transform"] == same[0].transform.model_dump(mode="json")


def it_trains_what_the_settings_name_where_nothing_is_named() -> None:
    assert set(Settings().train_configs) <= set(known_configs())
