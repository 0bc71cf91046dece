"""What a run of batch inference would do: the plan of every feed of a date, without classifying or writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from darkroom.storage import Storage
from spark_apps.arrivals import plan_prediction


def preview(lake: Storage, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a partition: {dt, feed, model, model_version, mode, images, would, why}. Costs what planning costs.

    ``would``: "write", or "skip" where the rows of an earlier run would stay. Raises InvalidRequest and ModelError.
    """
    rows = []
    for request in requests:
        plan = plan_prediction(lake, request)
        asked = plan.request
        rows.append(
            {
                "dt": asked.dt,
                "feed": asked.feed,
                "model": asked.model,
                "model_version": asked.champion.version,
                "mode": asked.mode,
                "images": len(plan.blobs),
                "would": "write" if plan.earlier is None else "skip",
                "why": "; ".join([*plan.reasons, *plan.told]),
            }
        )
    return rows
