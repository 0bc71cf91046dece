"""The page of a date's drift check: what is unusual, how it went over time, and the images most unlike the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom.drift import AlarmPolicy, DriftReport
from darkroom.figures import INK, legend_above, new_figure, svg, tidy
from darkroom.html import Page, number, plural
from darkroom.palette import CLASS_COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALARM = "#c0392b"
SMALLEST = 1e-4  # p-values are drawn no lower: 10,000 undrifted days tell no smaller ones apart


def monitoring_page(
    days: Sequence[Mapping[str, Any]],
    found: DriftReport,
    pictures: Sequence[tuple[bytes, str]],
    policy: AlarmPolicy,
) -> str:
    """One self-contained HTML page. ``days`` are the checks of one model's feed, oldest first, the last is this one."""
    today = days[-1]
    page = Page(
        f"Drift of {today['feed']} on {today['dt']}", f"against what version {today['model_version']} was validated on"
    )
    page.tiles(
        [
            ("images", found.images, "compared"),
            ("p-value", "–" if found.p is None else number(found.p, 2), "over all signals"),
            ("alarms", sum(bool(day["alarm"]) for day in days), f"in {plural(len(days), 'day')}"),
        ]
    )
    text = f"{'An alarm' if today['alarm'] else 'No alarm'}. {found.said} {today['why']}"
    page.callout("problem" if today["alarm"] else "warning" if found.p is None else "good", text)
    if any(day["p"] is not None for day in days):
        page.section("Over time")
        page.figure(
            svg(_over_time(days, policy)),
            "A day below the lower line is an alarm; so are two in a row below the upper one",
            "p-values by date: " + ", ".join(f"{day['dt']} {day['p']}" for day in days[-10:]),
        )
    if found.signals:
        page.section("Signals")
        ordered = sorted(found.signals, key=lambda s: (s.corrected, -s.statistic / max(s.usual, 1e-300)))
        page.table(
            ["signal", "p, for all signals", "distance, usual = 1", "on validation", "on this day"],
            [[s.name, s.corrected, s.statistic / max(s.usual, 1e-300), s.reference, s.day] for s in ordered],
            colors=[ALARM if s.corrected <= policy.twice else None for s in ordered],
        )
        if len(days) > 1:
            page.figure(
                svg(_signals_over_time(days)),
                "Distance of each signal: above 1 is what 5 of 100 undrifted days reach",
                f"Distances of {plural(len(found.signals), 'signal')} over {plural(len(days), 'day')}",
            )
    for name, why in found.skipped.items():
        page.callout("note", f"{name} was not compared: {why}.")
    if pictures:
        page.section("Most unlike validation")
        page.gallery("The furthest images of the day; 1 is the furthest of 95 % of validation images", pictures)
    page.section("Where it came from")
    left = [(f"images left out, {reason}", count) for reason, count in found.left_out.items()]
    page.facts([("model", today["model"]), ("version", today["model_version"]), ("package", today["package"]), *left])
    return page.render()


def _over_time(days: Sequence[Mapping[str, Any]], policy: AlarmPolicy) -> Figure:
    figure = new_figure(8.0, 3.2)
    axes = figure.subplots()
    places = [k for k, day in enumerate(days) if day["p"] is not None]
    values = [max(float(days[k]["p"]), SMALLEST) for k in places]
    axes.plot(places, values, color=INK, linewidth=1, alpha=0.5)
    for raised, color, label in ((False, CLASS_COLORS[0], "no alarm"), (True, ALARM, "alarm")):
        chosen = [(k, p) for k, p in zip(places, values, strict=True) if bool(days[k]["alarm"]) == raised]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "o", color=color, markersize=6, label=label)
    for level, style in ((policy.single, "-"), (policy.twice, "--")):
        axes.axhline(level, color=ALARM, linewidth=1, linestyle=style)
    axes.set_yscale("log")
    axes.set_ylim(SMALLEST * 0.8, 1.3)
    axes.set_ylabel("p-value of the day")
    _dates(axes, days)
    tidy(axes, grid="y", y_numbers=False)
    legend_above(figure)
    return figure


def _signals_over_time(days: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    names = [signal["name"] for signal in days[-1]["signals"]]
    values = np.full((len(names), len(days)), np.nan)
    for column, day in enumerate(days):
        for signal in day["signals"]:
            if signal["name"] in names:
                ratio = signal["statistic"] / max(signal["usual"], 1e-300)
                values[names.index(signal["name"]), column] = min(ratio, 3.0)
    figure = new_figure(8.0, 0.9 + 0.28 * len(names))
    axes = figure.subplots()
    colors = LinearSegmentedColormap.from_list("distance", ["#ffffff00", "#f0b27a", ALARM])
    drawn = axes.imshow(values, aspect="auto", cmap=colors, vmin=0, vmax=3, interpolation="nearest")
    axes.set_yticks(range(len(names)), names)
    _dates(axes, days)
    tidy(axes, grid="none", y_numbers=False)
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 1, 2, 3], pad=0.01)
    bar.ax.set_yticklabels(["0", "1", "2", "3 +"], color=INK)
    return figure


def _dates(axes: Any, days: Sequence[Mapping[str, Any]]) -> None:
    step = max(1, -(-len(days) // 10))
    ticks = list(range(len(days) - 1, -1, -step))[::-1]
    axes.set_xticks(ticks, [str(days[k]["dt"]) for k in ticks], rotation=30, ha="right")
    axes.set_xlim(-0.6, len(days) - 0.4)
