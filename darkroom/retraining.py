"""When training may start by itself: trainings that began are remembered, and leave time and room for the next.

A person may always train. New data may while the week's budget lasts. The schedule and drift also wait until the last
training is some time ago, so that neither trains again on what was only just learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from darkroom.contract import stable_hash, training_reports
from darkroom.storage import Storage

Asker = Literal["hand", "data", "schedule", "drift"]
WEEK = timedelta(days=7)


def why_not_now(
    lake: Storage, model: str, asker: Asker, run: str, *, now: datetime, cooldown_hours: float, per_week: int
) -> str | None:
    """Why a training that was asked for has to wait, in one sentence; None where it may start.

    ``run`` names the run that asks: what it began itself, before a retry, does not count.
    """
    if asker == "hand":
        return None
    others = [entry for entry in begun(lake, model) if entry["run"] != run]
    began = sorted(datetime.fromisoformat(entry["at"]) for entry in others)
    free = now - timedelta(hours=cooldown_hours)
    if asker in ("schedule", "drift") and began and began[-1] > free:
        until = began[-1] + timedelta(hours=cooldown_hours)
        return (
            f"{model} was trained at {began[-1]:%Y-%m-%d %H:%M} UTC, and the cool-down of {cooldown_hours:g} hours "
            f"ends at {until:%Y-%m-%d %H:%M} UTC. Trigger train_model by hand to train before that."
        )
    recent = [moment for moment in began if moment > now - WEEK]
    if len(recent) >= per_week:
        return (
            f"{model} was trained {len(recent)} times within a week, and its budget is {per_week}. "
            "Trigger train_model by hand to train now."
        )
    return None


def begun(lake: Storage, model: str) -> list[dict[str, Any]]:
    """Every training of the model that began: when (ISO, UTC), in which run, who asked, and on what."""
    folder = training_reports(model, "begun")
    return [json.loads(lake.read(blob.path)) for blob in lake.list(folder) if blob.path.endswith(".json")]


def remember(lake: Storage, model: str, run: str, entry: Mapping[str, Any], *, now: datetime) -> None:
    """Remembers that a training began, once a run."""
    content = {**entry, "run": run, "at": now.astimezone(UTC).isoformat()}
    path = f"{training_reports(model, 'begun')}/{stable_hash(run)}.json"
    lake.create(path, json.dumps(content, indent=1, sort_keys=True).encode())
