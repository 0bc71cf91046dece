"""The page of a verdict: what the gate decided, by which figures, and what changed since the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from darkroom.html import Page, percent
from darkroom.metrics import METRIC_NAMES
from darkroom.palette import class_colors

if TYPE_CHECKING:
    from darkroom.gate import Verdict


def gate_page(
    verdict: Verdict,
    model: str,
    challenger: Mapping[str, Any],
    champion: str | None,
    changes: Mapping[str, Any],
) -> str:
    """One self-contained HTML page: the verdict, its reasons and figures, and what changed since the champion."""
    page = Page(f"Gate of {model}", f"{challenger['config']} against {champion or 'chance: there is no champion yet'}")
    page.callout("good" if verdict.promote else "warning", "Promote." if verdict.promote else "Not promoted.")
    page.section("Reasons").bullets(verdict.reasons)
    page.link("The model card", "card/index.html")
    figures = verdict.figures
    if figures:
        page.section("Figures")
        metric = METRIC_NAMES.get(figures.get("metric", ""), "")
        facts = [
            ("images compared", figures.get("images")),
            ("left out, since a model was trained on them", figures.get("left_out_as_trained_on")),
            ("test set", figures.get("test_set")),
            ("chance", figures.get("chance")),
            (f"{metric} of the challenger", figures.get("value")),
            ("its interval", _interval(figures.get("interval"))),
            (f"{metric} of the champion", figures.get("champion_value")),
            ("difference", figures.get("difference")),
            ("its interval", _interval(figures.get("difference_interval"))),
            ("calibration error", figures.get("calibration_error")),
            ("time for an image, ms", figures.get("time_for_an_image")),
            ("package, MB", figures.get("package")),
            ("slices of too few images", figures.get("slices_too_small")),
        ]
        page.facts([(name, value) for name, value in facts if value is not None])
        if recall := figures.get("recall"):
            colors = class_colors(recall)
            heads, rows = ["class", "recall of the challenger"], [[name, percent(one)] for name, one in recall.items()]
            if rival := figures.get("champion_recall"):
                heads.append("of the champion")
                rows = [[name, mine, percent(rival[name])] for name, mine in rows]
            page.table(heads, rows, colors=[colors[name] for name in recall])
        if slices := figures.get("slices"):
            rows = [[s["slice"], s["value"], s["images"], s["difference"], _interval(s["interval"])] for s in slices]
            page.table(["slice", "value", "images", "difference of accuracy", "interval"], rows, title="By slice")
    if changes:
        _changes(page, changes)
    return page.render()


def _changes(page: Page, changes: Mapping[str, Any]) -> None:
    page.section("What changed").text(f"Since {changes['since']}.")
    data = [
        (name.replace("_", " "), " → ".join(value) if isinstance(value, list) else value)
        for name, value in changes["data"].items()
    ]
    page.facts(
        [*(data or [("data", "the same version and split")]), ("code", "changed" if changes["code"] else "same")]
    )
    if changes["config"]:
        rows = [[None if cell is None else str(cell) for cell in row] for row in changes["config"]]
        page.table(["option", "champion", "challenger"], rows)


def _interval(bounds: Sequence[float] | None) -> str | None:
    return None if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
