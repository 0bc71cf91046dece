"""Trainings that start by themselves: a cool-down and a budget a week, and a person who may always train."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from darkroom.retraining import Asker, begun, remember, why_not_now
from darkroom.storage import Storage

pytestmark = pytest.mark.unit

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)


def ask(
    lake: Storage, asker: Asker, run: str = "new", *, after: timedelta = timedelta(), per_week: int = 3
) -> str | None:
    return why_not_now(lake, "lamps", asker, run, now=NOON + after, cooldown_hours=24, per_week=per_week)


def trained(lake: Storage, run: str, ago: timedelta) -> None:
    remember(lake, "lamps", run, {"asked_by": "data"}, now=NOON - ago)


@pytest.mark.parametrize("asker", ["hand", "data", "schedule", "drift"])
def it_may_train_the_first_time(lake: Storage, asker: Asker) -> None:
    assert ask(lake, asker) is None


def it_cools_down_after_a_training(lake: Storage) -> None:
    trained(lake, "first", timedelta(hours=2))
    for asker in ("schedule", "drift"):
        assert "ends at 2026-03-21 10:00 UTC. Trigger train_model by hand" in str(ask(lake, asker))
        assert ask(lake, asker, after=timedelta(hours=22)) is None
    assert ask(lake, "data") is ask(lake, "hand") is None


def it_has_a_budget_a_week(lake: Storage) -> None:
    for number, days in enumerate((6, 4, 2)):
        trained(lake, f"run {number}", timedelta(days=days))
    for asker in ("data", "schedule", "drift"):
        assert "trained 3 times within a week, and its budget is 3" in str(ask(lake, asker))
        assert ask(lake, asker, after=timedelta(days=1)) is None
    assert ask(lake, "hand") is None
    assert "its budget is 0" in str(ask(lake, "data", per_week=0))


def it_lets_a_run_go_on_with_what_it_began(lake: Storage) -> None:
    trained(lake, "mine", timedelta(minutes=5))
    trained(lake, "mine", timedelta(minutes=1))  # a retry
    assert [entry["at"] for entry in begun(lake, "lamps")] == [(NOON - timedelta(minutes=5)).isoformat()]
    assert ask(lake, "drift", "mine") is None
    assert ask(lake, "drift", "another") is not None


def it_counts_each_model_for_itself(lake: Storage) -> None:
    remember(lake, "others", "run", {}, now=NOON)
    assert ask(lake, "drift") is None
