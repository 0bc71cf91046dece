"""Training configs: strict, named, and with a digest of every option."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from darkroom.errors import InvalidRequest
from training.config import CONFIG_FOLDER, load_config, parse_config

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
    ],
)
def it_refuses_a_wrong_file(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=told):
        load_config("mine", tmp_path)


def it_lies_beside_the_code() -> None:
    assert CONFIG_FOLDER.is_dir()
