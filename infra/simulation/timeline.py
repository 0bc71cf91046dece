"""The quarter as one picture: who classified which date, how unlike the reference it was, and what happened."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import matplotlib.dates as mdates

from darkroom.contract import drift_reports, predictions_table
from darkroom.figures import GRID, INK, new_figure, png, tidy
from darkroom.palette import CLASS_COLORS
from darkroom.storage import Storage
from darkroom.tables import Table
from infra.simulation.hospital import DATASET, FEED
from infra.simulation.story import OUTAGE, WORN_DAYS, Entry

_LOWEST_P = 1e-6
# Lane, mark and words of each kind of entry; entries of other kinds are not drawn.
_MARKS = {
    "promoted": (3, "^", "promoted"),
    "refused": (3, "X", "refused"),
    "unanswered": (3, "o", "no answer"),
    "rollback": (3, "<", "rolled back"),
    "training asked": (3, "s", "drift asks"),
    "caught up": (2, "D", "caught up"),
    "reconciled": (2, "P", "late images"),
    "rescored": (2, "D", "rescored"),
    "alarm": (1, "v", "drift alarm"),
    "killed": (0, "x", "killed"),
}
_LANES = ("killed midway", "drift", "dates done again", "models")


def draw_timeline(lake: Storage, journal: Sequence[Entry], dates: Sequence[str], path: Path) -> None:
    """Writes the picture as PNG."""
    days = [date.fromisoformat(dt) for dt in dates]
    figure = new_figure(13, 7.4)
    rows, drift, events = figure.subplots(3, 1, sharex=True, height_ratios=[1.2, 1, 2.2])
    _rows(lake, rows, days)
    _drift(lake, drift, days)
    _events(events, journal, len(days))
    for entry in journal:
        spans = {"outage": OUTAGE, "worn tube": WORN_DAYS}
        if entry.kind in spans:
            end = min(entry.day + timedelta(days=spans[entry.kind]), days[-1] + timedelta(days=1))
            for axes in (rows, drift, events):
                axes.axvspan(_edge(entry.day), _edge(end), color=GRID, alpha=0.22, linewidth=0, zorder=0)
            middle = entry.day + (end - entry.day) / 2
            words = "outage" if entry.kind == "outage" else "worn tube"
            events.annotate(
                words, (_edge(middle), 0.99), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8
            )
    locator = mdates.AutoDateLocator(minticks=5, maxticks=14)
    events.xaxis.set_major_locator(locator)
    events.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    rows.set_xlim(_edge(days[0]) - 0.5, _edge(days[-1]) + 1.5)
    path.write_bytes(png(figure))


def _edge(day: date) -> float:
    return float(mdates.date2num(day)) - 0.5


def _rows(lake: Storage, axes: Any, days: Sequence[date]) -> None:
    """Images of each date, by the version of the model that wrote it first; hatched where another one did later."""
    first: dict[str, str] = {}
    standing: dict[str, tuple[str, int]] = {}
    for commit in reversed(Table(lake, predictions_table(DATASET)).history()):  # oldest first
        summary = (commit["metadata"] or {}).get("summary", {})
        if commit["partition"] and "model_version" in summary:
            dt, version = commit["partition"]["dt"], str(summary["model_version"])
            first.setdefault(dt, version)
            standing[dt] = version, summary["images"]
    for number, version in enumerate(sorted(set(first.values()), key=int)):
        mine = [day for day in days if first.get(day.isoformat()) == version]
        where = [mdates.date2num(day) for day in mine]
        heights = [standing[day.isoformat()][1] for day in mine]
        hatches = ["" if standing[day.isoformat()][0] == version else "////" for day in mine]
        color = CLASS_COLORS[number]
        axes.bar(where, heights, 0.82, color=color, hatch=hatches, edgecolor="white", label=f"model version {version}")
    axes.set_ylabel("images classified")
    title = "Each date's rows, by the model that wrote them first; hatched: classified again by another one"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.legend(loc="upper right", ncols=4, fontsize=8, frameon=False, bbox_to_anchor=(1, 1.25))
    tidy(axes)


def _drift(lake: Storage, axes: Any, days: Sequence[date]) -> None:
    """How unlikely each date is by the reference of its model; alarms are filled."""
    folder = drift_reports(DATASET, FEED)
    for day in days:
        path = f"{folder}/{day.isoformat()}.json"
        if lake.stat(path) is None:
            continue
        report = json.loads(lake.read(path))
        if report["p"] is None:
            continue
        height = -math.log10(max(report["p"], _LOWEST_P))
        color = CLASS_COLORS[5] if report["alarm"] else CLASS_COLORS[0]
        axes.plot(mdates.date2num(day), height, "o", markersize=4.5, color=color)
    axes.set_ylabel("−log10 p")
    axes.set_title(
        "Drift: how unlike the reference a date is; red dates raise the alarm", loc="left", fontsize=10, color=INK
    )
    tidy(axes)


def _events(axes: Any, journal: Sequence[Entry], days: int) -> None:
    width = days / 150  # of a letter, in days
    ends: dict[int, list[float]] = {}
    for entry in sorted(journal, key=lambda one: one.day):
        lane, mark, words = _MARKS.get(entry.kind, (0, "", ""))
        if not mark:
            continue
        where = mdates.date2num(entry.day)
        axes.plot(where, lane, mark, color=INK, markersize=7)
        if entry.kind == "killed":
            continue
        # A label goes up a line for each label that it would touch.
        taken = ends.setdefault(lane, [])
        level = next((level for level, end in enumerate(taken) if end < where), len(taken))
        taken[level : level + 1] = [where + len(words) * width]
        axes.annotate(words, (where, lane + 0.26 + 0.2 * level), ha="left", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(_LANES)), _LANES)
    axes.set_ylim(-0.4, len(_LANES) + 0.1)
    axes.set_title("What happened", loc="left", fontsize=10, color=INK)
    tidy(axes, grid="x", y_numbers=False)
