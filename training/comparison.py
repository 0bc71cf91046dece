"""The pages of a training: how its configs compare, and what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from darkroom.figures import svg
from darkroom.html import Page, number, percent, plural
from darkroom.metrics import METRIC_NAMES
from darkroom.palette import class_colors
from training.plots import confusion_figure, roc_figure

if TYPE_CHECKING:
    from darkroom.gate import Verdict
    from training.evaluate import Measured


def comparison_page(
    plan: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    challenger: Mapping[str, Any],
    measured: Sequence[Measured],
) -> str:
    """One self-contained HTML page: metrics with intervals on val and test, confusion matrices, ROC curves."""
    page = Page(f"Training on {plan['dataset']}", f"version {plan['version'][:12]}, split {plan['split_id'][:12]}")
    best = next(m for m in measured if m.part == "test" and m.config == challenger["config"])
    page.tiles(
        [
            ("challenger", challenger["config"], f"best on val by {METRIC_NAMES.get(plan['primary_metric'], '')}"),
            ("balanced accuracy", number(best.metrics["balanced_accuracy"]), f"on test, {_interval(best.interval)}"),
            ("test images", best.metrics["count"], f"in {plural(len(best.info.classes), 'class', 'classes')}"),
            ("configs", len(results), "trained and compared"),
        ]
    )
    page.text(
        "Val chose the challenger and its threshold. Test was looked at once, for this page and the gate, and chose "
        "nothing. Intervals are 95 % bootstrap intervals that keep the images of a group together."
    )
    for part, meaning in (("test", "images that no model has seen"), ("val", "images that models were chosen on")):
        found = [m for m in measured if m.part == part]
        page.section(f"On {part}: {meaning}")
        first, *others = METRIC_NAMES
        rows = [
            [m.config, m.metrics[first], _interval(m.interval), *[m.metrics[name] for name in others]] for m in found
        ]
        headers = ["config", METRIC_NAMES[first], "95 % interval", *[METRIC_NAMES[name] for name in others], "images"]
        page.table(headers, [[*row, m.metrics["count"]] for row, m in zip(rows, found, strict=True)])
        for reason in sorted({f"{name}: {why}" for m in found for name, why in m.metrics["undefined"].items()}):
            page.callout("note", f"Not defined: {reason}.")
        classes = found[0].info.classes
        colors = class_colors(classes)
        page.table(
            ["class", "config", "recall", "precision", "images"],
            [
                [name, m.config, m.metrics["recall"][name], m.metrics["precision"][name], m.metrics["support"][name]]
                for name in classes
                for m in found
            ],
            title="By class",
            colors=[colors[name] for name in classes for _ in found],
        )
        curves = {m.config: (m.truth, m.probabilities) for m in found}
        chart = roc_figure(curves, classes, found[0].info.positive_class)
        page.figure(svg(chart), f"ROC curves on {part}", f"ROC curves of {', '.join(curves)}", half=True)
        for m in found:
            chart = confusion_figure(m.metrics["confusion"], m.info.classes)
            alt = f"Confusion matrix, rows true: {m.metrics['confusion']}"
            page.figure(svg(chart), f"{m.config}: true against predicted", alt, half=True)
    page.section("How they were trained")
    page.table(
        ["config", "kind", "threshold", "seconds", "MLflow run", "package"],
        [[r["config"], r["kind"], r["threshold"], r["seconds"], r["run_id"], r["package_id"][:12]] for r in results],
    )
    for name, address in plan["links"].items():
        if address.startswith("http"):
            page.link(name.replace("_", " "), address)
    return page.render()


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
