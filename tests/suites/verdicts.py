"""Verdicts of the gate as its task leaves them on the lake, for models that never were trained."""

from __future__ import annotations

from typing import Any

from darkroom.champions import Champion
from darkroom.storage import Storage
from tests.packages import champion_of
from training import receipts

MODEL = "lamps"


def verdict_on(lake: Storage, number: int, champion: Champion | None, **changes: Any) -> dict[str, Any]:
    """What the gate returned for a challenger, compared with that champion, kept as a receipt."""
    package = champion_of(lake, MODEL, seed=number)
    rival = {"champion_value": 0.8, "champion_recall": {"a": 0.7}} if champion else {}
    rival |= {"difference": 0.1, "difference_interval": [0.02, 0.2]} if champion else {}
    verdict = {
        "verdict": "promote",
        "reasons": ["good"],
        "figures": {"metric": "balanced_accuracy", "value": 0.9, "interval": [0.8, 1.0], "recall": {"a": 0.9}} | rival,
        "model": MODEL,
        "version": str(number),
        "challenger": {"config": "cnn", "package": package["package"], "package_id": package["package_id"]}
        | {"run_id": "r"},
        "champion_package_id": champion.package_id if champion else None,
        "evaluation": {
            "plan": {"dataset": MODEL, "version": "v", "split_id": "s"}
            | {"configs": [{"name": "cnn", "transform": {"width": 16, "height": 16}}]},
            "test": {"cnn": {}},
            "comparison": "reports/training/lamps/p/index.html",
        },
        "pictures": {"The challenger": "reports/training/lamps/p/confusion-challenger.png"},
        "page": "reports/training/lamps/p/gate.html",
        **changes,
    }
    lake.write(verdict["page"], b"page")
    receipts.keep_gate(lake, MODEL, f"{number:016x}", verdict)
    return verdict
