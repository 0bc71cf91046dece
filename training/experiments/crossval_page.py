"""The page of a k-fold estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.html import Page
from darkroom.metrics import METRIC_NAMES


def estimate_page(task: Mapping[str, Any], primary: str, found: Mapping[str, Any]) -> str:
    """``found`` is what ``training.experiments.crossval.cross_validate`` returns, with its label_issues."""
    page = Page(f"{task['name']} over {found['folds']} folds", f"{task['dataset']}, split {task['split_id']}")
    value, low, high = found["pooled"]["balanced_accuracy"]
    tiles = [("images", found["images"], "each tested once, by a model that has not seen it or its group")]
    if best := found["metrics"].get(primary):
        tiles.append((METRIC_NAMES[primary], f"{best['mean']:.3f}", f"95 %: {best['low']:.3f} to {best['high']:.3f}"))
    tiles.append(("of all images together", f"{value:.3f}", f"balanced accuracy, 95 %: {low:.3f} to {high:.3f}"))
    page.tiles(tiles)
    page.section("Metrics").text(
        "On the test part of each fold. The interval is Student's t over the folds, widened because they learn from "
        "mostly the same images (Nadeau and Bengio 2003)."
    )
    _table(page, found)
    page.section("Labels that are probably wrong").text(
        f"Confident learning over these predictions names {found['label_issues']['count']:,} images."
    )
    return page.link("Look at them", "label-issues.html").render()


def folds_part(page: Page, found: Mapping[str, Any]) -> None:
    """A section of another page: the same figures, without what they are about."""
    page.section("Over folds").text(
        f"{found['folds']} folds over {found['images']:,} images, with 95 % intervals; the page kfold.html of the run "
        f"says more. {found['label_issues']['count']:,} labels are probably wrong."
    )
    _table(page, found)


def _table(page: Page, found: Mapping[str, Any]) -> None:
    heads = ["metric", "mean", "low", "high", *[f"fold {number}" for number in range(1, found["folds"] + 1)]]
    rows = [
        [METRIC_NAMES[name], *[f"{value:.3f}" for value in (one["mean"], one["low"], one["high"], *one["values"])]]
        for name, one in found["metrics"].items()
    ]
    page.table(heads, rows)
