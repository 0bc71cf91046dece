"""What is chosen on val: a model that simulated shifts fool is less sure of itself than one that they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from darkroom.storage import Storage
from tests.packages import TRANSFORM, write_dataset
from training.classical.linear_graph import linear_graph
from training.config import parse_config
from training.kinds import Fitted
from training.packaging import Built, build_package

pytestmark = pytest.mark.unit


def sure_of_itself() -> bytes:
    """Goes by brightness alone, with a border that bright squares are just above: some shifts take them below it."""
    features = int(np.prod(TRANSFORM.shape))
    weights = np.stack([np.full(features, 60 / features), np.full(features, -60 / features)])
    return linear_graph(weights, np.array([-36.0, 36.0]), TRANSFORM.shape)


def built(lake: Storage, **changes: Any) -> Built:
    options = {"name": "by_hand", "kind": "mllib_logistic_regression", "transform": TRANSFORM.model_dump(mode="json")}
    dataset = write_dataset(lake, "lamps", [TRANSFORM])
    config = parse_config({**options, **changes})
    return build_package(lake, {**dataset, "model": "lamps", "seed": 0}, config, Fitted(sure_of_itself()))


def it_is_less_sure_where_shifts_fool_the_model(lake: Storage) -> None:
    alone, shifted = built(lake, choose_on="val"), built(lake)
    assert shifted.info.temperature > 2 * alone.info.temperature
    assert shifted.val["balanced_accuracy"] > 0.95
    assert shifted.val["count"] == alone.val["count"]


def it_keeps_a_promised_recall_for_val_as_it_is(lake: Storage) -> None:
    found = built(lake, threshold={"aim": "recall", "of": "DARK", "at_least": 1.0})
    assert found.val["recall"]["DARK"] == 1.0
    assert found.val["recall"]["BRIGHT"] > 0.95


def it_leaves_probabilities_alone_when_asked_to(lake: Storage) -> None:
    assert built(lake, calibration="none").info.temperature == 1.0
