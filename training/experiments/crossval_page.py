"""The pages of a k-fold estimate: one of all folds together, and one of each fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.html import Page
from darkroom.metrics import METRIC_NAMES
from training.comparing import page_parts as parts
from training.config import TrainingConfig
from training.experiments.tested import ALL_FOLDS, Tested

NOT_OFFERED = "The models of folds only say how good the config is; the one that is offered to the gate is another."


def estimate_page(task: Mapping[str, Any], primary: str, found: Mapping[str, Any], tested: Tested) -> str:
    """``found`` and ``tested`` are what ``training.experiments.crossval.cross_validate`` returns, with label_issues."""
    page = Page(f"{task['name']} over {found['folds']} folds", f"{task['dataset']}, split {task['split_id']}")
    tiles = [("images", found["images"], "each tested once, by a model that has not seen it or its group")]
    if best := found["metrics"].get(primary):
        tiles.append((METRIC_NAMES[primary], f"{best['mean']:.3f}", f"95 %: {best['low']:.3f} to {best['high']:.3f}"))
    value, bounds = tested.measured.metrics[primary], parts.reach(tested.measured.intervals[primary])
    if value is not None:
        told = METRIC_NAMES[primary] + (f", 95 %: {bounds}" if bounds else "")
        tiles.append(("of all images together", f"{value:.3f}", told))
    page.tiles(tiles)
    page.text(f"Each image was judged once, by a model that had not seen it or an image of its group. {NOT_OFFERED}")
    page.section("Metrics").text(
        "On the test part of each fold. The interval of the mean is Student's t over the folds, widened because they "
        "learn from mostly the same images (Nadeau and Bengio 2003); that of all images together is a bootstrap, which "
        "draws whole groups."
    )
    _table(page, found)
    _answers(page, tested)
    page.section("Labels that are probably wrong").text(
        f"Confident learning over these predictions names {found['label_issues']['count']:,} images."
    )
    return page.link("Look at them", "label-issues.html").render()


def fold_page(
    task: Mapping[str, Any], config: TrainingConfig, number: int, tested: Tested, result: Mapping[str, Any]
) -> str:
    """The page of the fold ``number``; ``result`` is what ``training.experiments.fitting.read_fold`` returns."""
    measured = tested.measured
    page = Page(f"{task['name']}, fold {number} of {config.folds}", f"{task['dataset']}, split {task['split_id']}")
    parts.headline_tiles(page, measured, config.primary_metric)
    page.text(f"The test images were kept from the model of this fold, with all images of their groups. {NOT_OFFERED}")
    page.section("Metrics")
    parts.metrics_of_parts(page, measured)
    _answers(page, tested)
    page.section("What it is").bullets(measured.info.notes)
    facts = [("threshold", measured.info.threshold), ("temperature", measured.info.temperature)]
    return page.facts([*facts, ("time to train and test, seconds", result["seconds"])]).render()


def folds_part(page: Page, found: Mapping[str, Any]) -> None:
    """A section of another page: the same figures, without what they are about."""
    page.section("Over folds").text(
        f"{found['folds']} folds over {found['images']:,} images, with 95 % intervals; the page kfold.html of the run "
        f"says more. {found['label_issues']['count']:,} labels are probably wrong."
    )
    _table(page, found)


def _answers(page: Page, tested: Tested) -> None:
    """What both pages show alike of the answers."""
    measured = tested.measured
    parts.undefined_part(page, measured)
    parts.class_table(page, {measured.config: measured}, folded=False)
    page.section(f"Charts on {measured.part}")
    if measured.part == ALL_FOLDS:
        page.text("The curves rank answers of different models together: areas may differ from the mean over folds.")
    parts.curves(page, [measured], measured.part)
    parts.confusion_part(page, measured)
    parts.reliability_part(page, measured)
    page.section("Slices")
    parts.slices_part(page, measured, tested.slices)
    page.section("Misclassified")
    parts.mistakes_part(page, measured, tested.mistakes)


def _table(page: Page, found: Mapping[str, Any]) -> None:
    numbers = range(1, found["folds"] + 1)
    heads = ["metric", "mean", "low", "high", "all together", "low", "high", *[f"fold {number}" for number in numbers]]
    rows = []
    for name, one in found["metrics"].items():
        values = [*[one[key] for key in ("mean", "low", "high")], *found["pooled"][name], *one["values"]]
        rows.append([METRIC_NAMES[name], *[None if value is None else f"{value:.3f}" for value in values]])
    page.table(heads, rows)
