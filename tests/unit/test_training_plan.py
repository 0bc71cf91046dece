"""What a training refuses before any work starts."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.errors import DataError, InvalidRequest
from tests.suites.training import World, world
from training import flow

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"configs": ["resnet"]}, InvalidRequest, "Expected one of: mean"),
        ({"split_id": "none"}, DataError, "no split"),
        ({"dataset": "Nope"}, InvalidRequest, "cannot be used"),
        ({"seed": -1}, InvalidRequest, "seed"),
        ({"colour": 1}, InvalidRequest, "colour"),
    ],
)
def it_refuses_a_wrong_request(world: World, changes: dict[str, Any], error: type[Exception], told: str) -> None:
    world.config("mean", "")
    with pytest.raises(error, match=told):
        flow.plan(world.lake, {**world.request, "configs": ["mean"], **changes})


@pytest.mark.parametrize("wrong", ["positive_class: GREEN", "threshold: {aim: recall, of: GREEN, at_least: 0.9}"])
def it_refuses_an_unknown_class(world: World, wrong: str) -> None:
    world.config("wrong", wrong)
    with pytest.raises(InvalidRequest, match="GREEN"):
        world.plan("wrong")
