"""From p-values of days to an alarm, with a stated share of false ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class AlarmPolicy(BaseModel):
    """When days are an alarm. The share of undrifted days with a false one is at most about ``single`` + ``twice``²."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    single: float = Field(default=0.001, gt=0, lt=0.5, description="A day's p-value that is an alarm by itself.")
    twice: float = Field(
        default=0.015, gt=0, lt=0.5, description="A p-value that is one when two days in a row reach it."
    )


@dataclass(frozen=True)
class Alarm:
    """Whether the newest day raises an alarm, and why or why not in a sentence."""

    raised: bool
    said: str


def judge(p_values: Sequence[float | None], policy: AlarmPolicy | None = None) -> Alarm:
    """Judges the newest of some days. ``p_values`` are those of the days checked, oldest first; None: not judged.

    A day that was not judged raises nothing and breaks no row: the day before it counts as the one before.
    """
    policy = policy or AlarmPolicy()
    if not p_values or p_values[-1] is None:
        return Alarm(False, "The day was not judged.")
    today = p_values[-1]
    earlier = [p for p in p_values[:-1] if p is not None]
    if today <= policy.single:
        return Alarm(
            True,
            f"p = {today:.4f}; an undrifted day is at or below {policy.single} once in {1 / policy.single:.0f} days.",
        )
    if today <= policy.twice and earlier and earlier[-1] <= policy.twice:
        return Alarm(True, f"p = {earlier[-1]:.4f}, then {today:.4f}: two days in a row at or below {policy.twice}.")
    if today <= policy.twice:
        return Alarm(False, f"p = {today:.4f} is low, but no alarm by itself: the next day decides.")
    return Alarm(False, "That is nothing unusual.")
