"""What a training refuses before any work starts."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom.errors import DataError, InvalidRequest
from tests.suites.training import World, world
from training import flow, tracking

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


def it_goes_on_after_a_failed_config_in_the_run_that_was_planned(world: World) -> None:
    world.config("mean", "")
    world.config("other", "broken: [2]")
    plan = world.plan("mean", "other")
    first, second = plan["configs"]
    results = [flow.train(world.lake, first)]
    with pytest.raises(DataError, match="on purpose"):
        flow.train(world.lake, second)
    flow.close_runs(plan["parent_run_id"])
    status = [tracking.open_client().get_run(plan["parent_run_id"]).info.status]
    world.config("other", "broken: [2]\nsharpness: 3")
    with pytest.raises(InvalidRequest, match=r"other, or the code, was changed.*Trigger the DAG again"):
        flow.train(world.lake, second)
    world.config("other", "broken: [2]")  # as the task that was cleared was planned with it
    results.append(flow.train(world.lake, second))
    flow.evaluate(world.lake, {"plan": plan, "results": results})
    flow.close_runs(plan["parent_run_id"])
    status.append(tracking.open_client().get_run(plan["parent_run_id"]).info.status)
    assert status == ["FAILED", "FINISHED"]
