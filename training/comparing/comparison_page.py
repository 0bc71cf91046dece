"""The page of a training: which config won, whether that is real, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence

from darkroom.figures import svg
from darkroom.html import Page, byte_size, number, plural
from darkroom.metrics import METRIC_NAMES
from training.comparing import page_parts as parts
from training.comparing.comparison import Comparison, Entry, notes_on, pareto_front
from training.comparing.leaks import told_leaks
from training.comparing.plots import pareto_figure

MOST_CURVES = 5  # more cannot be told apart
MOST_RIVALS = 8  # of the nearest ones, before a fold


def comparison_page(comparison: Comparison) -> str:
    """One self-contained HTML page, readable with two configs and with twenty."""
    plan, best, entries = comparison.plan, comparison.best, comparison.entries
    metric, test = comparison.metric, best.test
    page = Page(f"Training on {plan['dataset']}", f"version {plan['version'][:12]}, split {plan['split_id'][:12]}")
    bounds = parts.reach(test.intervals[metric])
    page.tiles(
        [
            ("challenger", best.config, f"best on val by {METRIC_NAMES[metric]}"),
            (METRIC_NAMES[metric], number(test.metrics[metric]), f"on test, {bounds}" if bounds else "on test"),
            ("test images", test.metrics["count"], f"in {plural(len(test.info.classes), 'class', 'classes')}"),
            ("configs", len(entries), "trained and compared"),
        ]
    )
    _who_won(page, comparison)
    page.section("On test: images that no model has seen")
    headers = ["config", f"{METRIC_NAMES[metric]} (95 % interval)", *_others(metric).values()]
    rows = [
        [one.config, parts.with_interval(one.test, metric), *[one.test.metrics[name] for name in _others(metric)]]
        for one in entries
    ]
    page.table(headers, rows, colors=["#d55e00" if one is best else None for one in entries])
    parts.interval_table(page, {one.config: one.test for one in entries}, "Every interval", folded=True)
    shown = _shown(comparison)
    if len(shown) < len(entries):
        page.text(f"The curves are those of the {len(shown)} best, the challenger among them.")
    parts.curves(page, [one.test for one in shown], "test")
    parts.class_table(page, {one.config: one.test for one in entries}, folded=len(entries) > 4)
    _cost(page, comparison)
    _with_leaks(page, comparison)
    page.section("How sure the challenger may be")
    parts.choices_part(page, best.val, test)
    parts.reliability_part(page, test)
    parts.confusion_part(page, test)
    parts.answers_sections(page, best, "the challenger")
    page.section("On val: images that models were chosen on")
    parts.interval_table(page, {one.config: one.val for one in entries}, "On val", folded=len(entries) > 4)
    _origin(page, comparison)
    return page.render()


def _who_won(page: Page, comparison: Comparison) -> None:
    page.section("Which won")
    nearest = [one for one in comparison.compared if one.metric == comparison.metric]
    behind = any(one.real and (one.difference.value or 0) < 0 for one in nearest)
    ahead = bool(nearest) and all(one.real and (one.difference.value or 0) > 0 for one in nearest)
    page.callout("warning" if behind else "good" if ahead else "note", comparison.sentence)
    champion = comparison.champion
    if champion is not None:
        page.callout("note", champion.sentence or f"Against {champion.champion}: {champion.reason}")
    page.text(
        "Val chose the challenger, its temperature and its threshold. Test was looked at once, for this page and the "
        "gate, and chose nothing. Intervals are 95 % bootstrap intervals; p-values of several rivals are corrected by "
        "Holm's method, and a difference is called real where the corrected one is below 0.05."
    )
    page.bullets(notes_on(comparison))
    if nearest:
        title = f"{comparison.best.config} minus each other config: {METRIC_NAMES[comparison.metric]}"
        parts.difference_table(page, nearest[:MOST_RIVALS], title)
        if others := nearest[MOST_RIVALS:]:
            parts.difference_table(page, others, f"The other {plural(len(others), 'config')}", folded=True)
        others = [one for one in comparison.compared if one.metric != comparison.metric]
        parts.difference_table(page, others, "The same by other metrics", folded=True)
    if champion is not None and champion.compared:
        title = f"{comparison.best.config} minus {champion.champion}, {champion.images:,} images"
        parts.difference_table(page, champion.compared, title)


def _others(metric: str) -> dict[str, str]:
    return {name: told for name, told in METRIC_NAMES.items() if name != metric}


def _shown(comparison: Comparison) -> Sequence[Entry]:
    """The best few on test, the challenger always among them."""
    best, entries = comparison.best, list(comparison.entries)
    shown = entries[:MOST_CURVES]
    return shown if best in shown else [*shown[:-1], best]


def _cost(page: Page, comparison: Comparison) -> None:
    page.section("What each costs")
    metric, entries = comparison.metric, comparison.entries
    front = pareto_front(entries, metric)
    points = {
        one.config: (one.images_per_second, float(one.test.metrics[metric]), one.test.intervals[metric])
        for one in entries
        if one.images_per_second is not None and one.test.metrics[metric] is not None
    }
    if points:
        chart = pareto_figure(points, front, comparison.best.config, METRIC_NAMES[metric])
        alt = "; ".join(
            f"{name}: {speed:.0f} images a second, {value:.3f}" for name, (speed, value, _) in points.items()
        )
        page.figure(svg(chart), "Quality against speed: nothing on the line is beaten in both", alt)
    page.text(
        "Images a second are those of the model package on the val and test images, in batches of 32, with 2 threads: "
        "pixels in memory, decoding not counted, measured once on this machine. Time to train is that of the fit and "
        "its package; a search and folds come on top."
    )
    page.table(
        ["config", "time to train, s", "package", "images a second", METRIC_NAMES[metric], "on the line"],
        [
            [
                one.config,
                round(one.result["seconds"], 1),
                None if one.package_bytes is None else byte_size(one.package_bytes),
                None if one.images_per_second is None else round(one.images_per_second),
                one.test.metrics[metric],
                "yes" if one.config in front else "",
            ]
            for one in entries
        ],
    )


def _with_leaks(page: Page, comparison: Comparison) -> None:
    """Where it was asked for: what the metric would have been on the split that the source gave."""
    given = {one.config: one for one in comparison.entries if one.result.get("given")}
    if not given:
        return
    name = METRIC_NAMES[comparison.metric]
    page.section("With leaks and without")
    leaks = next(iter(given.values())).result["given"]["leaks"]
    page.text(
        f"The split that the source gave leaks: {told_leaks(leaks)} Each config was trained and tested on it, too."
    )
    rows = []
    for config, one in given.items():
        clean, leaky = one.test.metrics[comparison.metric], one.result["given"]["metrics"].get(comparison.metric)
        right = one.result["given"]["right"]
        rows.append([config, clean, leaky, right["leak"], right["others"]])
    page.table(
        ["config", f"{name}, this split", f"{name}, as given", "right of those that leak", "right of others"], rows
    )
    page.text("The two tests hold different images: a difference is not the leak alone.")


def _origin(page: Page, comparison: Comparison) -> None:
    page.section("How they were trained")
    page.table(
        ["config", "kind", "threshold", "temperature", "MLflow run", "package"],
        [
            [
                one.config,
                one.result.get("kind"),
                one.test.info.threshold,
                one.test.info.temperature,
                one.result["run_id"],
                one.result["package_id"][:12],
            ]
            for one in comparison.entries
        ],
    )
    for one in comparison.entries:
        page.link(f"{one.config}: curves, slices and misclassified images", f"configs/{one.config}.html")
    page.link("All figures as JSON", "comparison.json")
    for name, address in comparison.plan["links"].items():
        if address.startswith("http"):
            page.link(name.replace("_", " "), address)
