"""Fits in Spark: side by side in workers, teams in a barrier stage, and errors that keep their class."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pytest

from darkroom.errors import DataError, InvalidRequest, MachineryError
from darkroom.storage import Storage
from tests.suites import placed as suite
from training.config import parse_config
from training.experiments.placement import Cluster, Here, Unit
from training.experiments.placement import placed as placed_by
from training.kinds import Job

pytestmark = pytest.mark.unit

CNN = {"name": "cnn", "kind": "small_cnn"}


def units(lake: Storage, *works: Any) -> list[Unit]:
    """A unit for each, with its position as key and seed."""
    config = parse_config(CNN)
    return [Unit(k, Job(lake, "lamps", pa.table({}), config, k), work) for k, work in enumerate(works)]


def it_does_one_after_the_other_in_this_process(lake: Storage) -> None:
    found = list(Here().run(iter(units(lake, suite.who, suite.who))))
    assert [(key, result["seed"], result["pid"]) for key, result in found] == [(k, k, os.getpid()) for k in (0, 1)]


def it_does_fits_side_by_side_in_workers_of_one_thread(spark: Any, lake: Storage) -> None:
    taken: list[int] = []

    def asked() -> Any:
        for unit in units(lake, *[suite.who] * 5):
            taken.append(unit.key)
            yield unit

    run = Cluster(spark.sparkContext, 1).run(asked())
    first = next(run)
    assert len(taken) == 2  # as many as there are cores
    found = dict([first, *run])
    assert sorted(found) == [result["seed"] for _, result in sorted(found.items())] == [0, 1, 2, 3, 4]
    assert os.getpid() not in {result["pid"] for result in found.values()}
    assert {result["threads"] for result in found.values()} == {"1"}
    assert {result["heard by"] for result in found.values()} == {1}  # a worker does fit after fit


def it_keeps_what_others_did_when_one_fails(spark: Any, lake: Storage) -> None:
    run = Cluster(spark.sparkContext, 1).run(iter(units(lake, suite.refuse, suite.who, suite.who, suite.who)))
    kept: list[int] = []
    with pytest.raises(DataError, match="the images of 0 are not there"):
        kept.extend(key for key, _ in run)
    assert 1 in kept
    assert 3 not in kept  # not begun any more


def it_tells_of_a_machine_that_fails(spark: Any, lake: Storage) -> None:
    with pytest.raises(MachineryError, match="the disk is gone"):
        list(Cluster(spark.sparkContext, 1).run(iter(units(lake, suite.break_down))))


def it_says_what_the_workers_lack(spark: Any, lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match=r"no module 'a_framework_that_is_not_there'.*where: local"):
        list(Cluster(spark.sparkContext, 1).run(iter(units(lake, suite.lack))))


def it_says_so_where_the_work_itself_cannot_be_read(spark: Any, lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match=r"no module 'a_package_of_the_driver'.*SPARK_PACKAGES=spark-training"):
        list(Cluster(spark.sparkContext, 1).run(iter(units(lake, suite.Unreadable()))))


def it_lets_a_team_share_and_agree(spark: Any, lake: Storage) -> None:
    ((_, found),) = Cluster(spark.sparkContext, 2).run(iter(units(lake, suite.meet)))
    assert (found["rank"], found["size"]) == (0, 2)
    assert found["mean"][0] == 0.5
    assert found["sum"] == pytest.approx(3)  # the mean of 0..6, whoever holds four of them
    assert found["first"] == [True, False]


def it_ends_a_team_that_lost_a_worker(spark: Any, lake: Storage) -> None:
    with pytest.raises(MachineryError, match=r"lost the others|barrier task"):
        list(Cluster(spark.sparkContext, 2).run(iter(units(lake, suite.leave))))
    ((_, found),) = Cluster(spark.sparkContext, 2).run(iter(units(lake, suite.meet)))
    assert found["size"] == 2  # the session goes on


def it_refuses_more_workers_than_there_are_cores(spark: Any) -> None:
    with pytest.raises(InvalidRequest, match="asks for 3 workers"):
        Cluster(spark.sparkContext, 3)


def it_goes_where_the_config_says(spark: Any) -> None:
    with placed_by(parse_config(CNN)) as place:
        assert isinstance(place, Here)
    with placed_by(parse_config(CNN | {"where": "spark", "workers": 2})) as place:
        assert isinstance(place, Cluster)
        assert place.workers == 2
    with placed_by(parse_config({"name": "linear", "kind": "mllib_logistic_regression", "where": "spark"})) as place:
        assert isinstance(place, Here)  # its fits are Spark's already
    assert spark.range(3).count() == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 2}, "needs where: spark"),
        ({"workers": 2, "where": "spark", "batch_size": 7}, "too small for 2 workers"),
        ({"where": "moon"}, "where"),
        ({"folds": 1}, "folds"),
    ],
)
def it_refuses_configs_that_cannot_be_placed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_config(CNN | changes)
