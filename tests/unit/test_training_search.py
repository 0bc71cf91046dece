"""Search: trials over a declared space, each a run, stopped when behind, going on after a kill."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from darkroom.errors import DataError, InvalidRequest, MachineryError
from darkroom.model import load_package
from tests.kinds import FITTED
from tests.suites.training import World, world
from training import flow, tracking
from training.config import load_config, parse_config
from training.experiments.search import COMPLETE, PRUNED, propose, stopper
from training.experiments.space import distributions, from_optuna, to_optuna, with_options

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture
SEARCH = """
sharpness: 0.02
calibration: none
search:
  trials: 6
  space:
    sharpness: {low: 0.01, high: 100, log: true}
    shape.corners: {choices: [[1], [1, 2], [3]]}
"""


def network(**search: Any) -> dict[str, Any]:
    space = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    return {"name": "cnn", "kind": "small_cnn", "search": {"space": space, **search}}


def runs_below(run_id: str) -> list[Any]:
    client = tracking.open_client()
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`{tracking.PARENT}` = '{run_id}'")
    return sorted(found, key=lambda run: int(run.data.tags["darkroom.trial"]))


def it_fits_and_packages_the_best_of_the_trials(world: World) -> None:
    world.config("mean", SEARCH)
    result = world.train("mean")
    runs = runs_below(result["run_id"])
    assert [run.data.tags["darkroom.trial"] for run in runs] == ["1", "2", "3", "4", "5", "6"]
    assert {run.data.tags["darkroom.state"] for run in runs} <= {COMPLETE, PRUNED}
    assert runs[0].data.params["sharpness"] == "0.02"  # the config as it stands
    assert all(
        "val_balanced_accuracy" in run.data.metrics for run in runs if run.data.tags["darkroom.state"] == COMPLETE
    )
    found = result["search"]
    best = runs[found["best"]["number"] - 1]
    values = [run.data.metrics.get("val_balanced_accuracy", 0) for run in runs]
    assert best.data.metrics["val_balanced_accuracy"] == max(values) == found["best"]["value"]
    assert (
        float(best.data.params["sharpness"]) == result["options"]["sharpness"] == found["best"]["values"]["sharpness"]
    )
    assert FITTED[-1].config.sharpness == result["options"]["sharpness"]
    assert tracking.open_client().get_run(result["run_id"]).data.params["sharpness"] == str(
        result["options"]["sharpness"]
    )
    assert result["val"]["balanced_accuracy"] == found["best"]["value"]
    info = load_package(world.lake, result["package"]).info
    assert info.config_digest == with_options(load_config("mean"), found["best"]["values"]).digest


def it_goes_on_where_it_was_killed(world: World) -> None:
    world.config("whole", SEARCH)
    whole = world.train("whole")["search"]
    first = [job.config.sharpness for job in FITTED[:6]]
    FITTED.clear()
    world.config("cut", f"{SEARCH}\nkilled: [4]")
    with pytest.raises(MachineryError, match="gone on purpose"):
        world.train("cut")
    result = flow.train(world.lake, world.plan("cut")["configs"][0])
    assert len(FITTED) == 4 + 3 + 1  # the three that were left, and the model
    assert [job.config.sharpness for job in FITTED[:3] + FITTED[4:7]] == first
    assert result["search"]["best"] == whole["best"]
    runs = runs_below(result["run_id"])
    assert len(runs) == 6
    assert all(run.info.status == "FINISHED" for run in runs)
    assert all("fit/val_loss" in run.data.metrics for run in runs)


def it_goes_on_without_a_trial_that_fails(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world.config("mean", f"{SEARCH}\nbroken: [1, 3]")
    result = world.train("mean")
    assert result["search"]["failed"] == 2
    failed = [run for run in runs_below(result["run_id"]) if run.data.tags["darkroom.state"] == "failed"]
    assert {run.info.status for run in failed} == {"FAILED"}
    assert {run.data.tags["darkroom.reason"] for run in failed} == {"this fit fails on purpose"}
    assert tracking.open_client().get_run(result["run_id"]).info.status == "FINISHED"
    assert "Trial 3, sharpness" in caplog.text


def it_says_so_where_no_trial_ends(world: World) -> None:
    world.config("mean", f"{SEARCH.replace('trials: 6', 'trials: 2')}\nbroken: [1, 2]")
    with pytest.raises(DataError, match=r"None of the 2 trials of mean.*on purpose"):
        world.train("mean")


def it_fits_again_what_failed_before(world: World) -> None:
    world.config("mean", f"{SEARCH}broken: [1, 2, 3, 4, 5, 6]\n")
    with pytest.raises(DataError, match="None of the 6 trials"):
        world.train("mean")
    assert world.train("mean")["search"]["failed"] == 0  # fits 7 to 12: what they failed for was mended


@pytest.mark.parametrize("parallel", [1, 4])
def it_stops_when_its_time_is_over(world: World, parallel: int) -> None:
    world.config("mean", SEARCH.replace("trials: 6", f"trials: 50\n  seconds: 0.000001\n  parallel: {parallel}"))
    result = world.train("mean")
    assert result["search"]["trials"] == len(runs_below(result["run_id"])) == 1


def it_proposes_the_same_for_the_same_outcomes() -> None:
    config = parse_config(network())
    assert propose(config, [], 1, 0) == [{"optimizer.learning_rate": 0.003}]
    done = [
        {
            "values": {"optimizer.learning_rate": 10 ** -(1 + 0.3 * number)},
            "state": "pruned" if number == 3 else "complete",
            "value": None if number == 3 else 1 - abs(number - 6) / 10,
            "steps": [[1, {"val_loss": 1.0}], [2, {"val_loss": 0.5}]],
        }
        for number in range(10)
    ]
    asked = propose(config, done, 8, 0)
    assert asked == propose(config, done, 8, 0)
    assert asked != propose(config, done, 8, 1)
    assert len({one["optimizer.learning_rate"] for one in asked}) == 8
    rates = [one["optimizer.learning_rate"] for one in asked]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert sum(10**-3.4 <= rate <= 10**-2.2 for rate in rates) >= 4  # near the best, which is 10^-2.8


def it_stops_what_is_behind_the_median() -> None:
    good = {1: 0.9, 2: 0.7, 3: 0.5, 4: 0.3}
    behind = stopper([good] * 4)
    assert [behind(step, 0.95) for step in (1, 2, 3)] == [False, False, True]
    ahead = stopper([good] * 4)
    assert not any(ahead(step, 0.2) for step in (1, 2, 3, 4))
    few = stopper([good] * 3)
    assert not any(few(step, 9.0) for step in (1, 2, 3, 4))


def it_stops_trials_early_and_says_so(world: World) -> None:
    choices = "[50.0, 49.0, 48.0, 47.0, 46.0, 45.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006]"
    world.config(
        "mean", f"sharpness: 50.0\nsteps: 6\nsearch: {{trials: 16, space: {{sharpness: {{choices: {choices}}}}}}}"
    )
    result = world.train("mean")
    pruned = [run for run in runs_below(result["run_id"]) if run.data.tags["darkroom.state"] == PRUNED]
    assert result["search"]["pruned"] == len(pruned) > 0
    for run in pruned:
        assert float(run.data.params["sharpness"]) < 1
        assert "behind the median" in run.data.tags["darkroom.reason"]
        assert run.info.status == "FINISHED"
    assert result["options"]["sharpness"] >= 45


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"optimizer.speed": {"low": 0, "high": 1}}, "speed: Extra"),
        ({"optimizer.speed": {"low": 0.1, "high": 0.5}}, "speed: Extra"),
        ({"optimiser.learning_rate": {"low": 0.1, "high": 1}}, "optimiser"),
        ({"transform.width": {"low": 16, "high": 64}}, "only its kind has"),
        ({"seed": {"low": 0, "high": 9}}, "only its kind has"),
        ({"optimizer.learning_rate": {"low": 0.1, "high": 5}}, "learning_rate"),
        ({"optimizer.learning_rate": {"low": 0.1, "high": 0.01}}, "low below high"),
        ({"optimizer.learning_rate": {"low": 0, "high": 0.01, "log": True}}, "above 0"),
        ({"batch_size": {"low": 16.5, "high": 32}}, "whole numbers"),
        ({"epochs": {"low": 1.5, "high": 32}}, "whole numbers"),
        ({"max_seconds": {"low": -1, "high": 0.5}}, "max_seconds: Input should be greater"),
        ({"model.filters": {"choices": [[8, 16], ["many"]]}}, "filters"),
        ({"model.filters": {"choices": [[8, 16]]}}, "choices"),
        ({}, "space"),
    ],
)
def it_checks_the_space_before_any_work(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_config(network(space=space))


def it_keeps_a_whole_number_whole_that_is_not_set() -> None:
    space = {"epochs": {"low": 10, "high": 12}}
    config = parse_config({"name": "cnn", "kind": "small_cnn", "search": {"space": space}})
    (first,) = propose(config, [], 1, 0)
    for values in propose(config, [{"values": first, "state": "failed", "value": None, "steps": []}], 5, 3):
        with_options(config, values)


def it_refuses_to_search_for_features() -> None:
    """They are computed before any training."""
    space = {"features": {"choices": [["hog"], ["lbp"]]}}
    with pytest.raises(InvalidRequest, match=r"changes 'features'.*config for each list"):
        parse_config({"name": "linear", "kind": "svm", "features": ["hog"], "search": {"space": space}})


def it_refuses_a_search_with_several_workers() -> None:
    with pytest.raises(InvalidRequest, match="one of the two"):
        parse_config(network() | {"where": "spark", "workers": 2})


def it_keeps_whole_numbers_whole_and_lists_lists() -> None:
    space = {
        "batch_size": {"low": 8, "high": 64, "log": True},
        "optimizer.averaging": {"low": 0, "high": 0.99},
        "model.filters": {"choices": [[8, 16], [16, 32, 64]]},
    }
    config = parse_config(network(space=space))
    (first,) = propose(config, [], 1, 0)
    for values in propose(config, [{"values": first, "state": "failed", "value": None, "steps": []}], 5, 3):
        assert isinstance(values["batch_size"], int)
        assert isinstance(values["optimizer.averaging"], float)
        assert values["model.filters"] in ([8, 16], [16, 32, 64])
        known = to_optuna(config, values)
        assert known is not None
        assert from_optuna(config, known) == values
        assert set(known) == set(distributions(config))
        assert with_options(config, values).search is None
