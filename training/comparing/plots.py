"""The charts of training: confusion matrices, and quality against speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from darkroom.figures import GRID, INK, new_figure, plain, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUND, CHOSEN, OTHERS = "#2f6db5", "#d55e00", "#8a939b"
NAMED_POINTS = 10  # names of more configs would cover the plot
NUMBERED_CLASSES = 12  # cells of more classes are too small for numbers


def confusion_figure(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Rows are true classes, columns predicted ones; colour is the share of the row."""
    from matplotlib.colors import LinearSegmentedColormap

    counts = np.asarray(matrix, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.4 + 0.75 * len(classes), 3.2, 9.0))
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    colors = LinearSegmentedColormap.from_list("share", ["#ffffff00", GROUND])
    axes.imshow(shares, cmap=colors, vmin=0, vmax=1)
    names = [plain(name, 18) for name in classes]
    axes.set_xticks(
        range(len(names)), names, rotation=30 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    tidy(axes, grid="none", y_numbers=False)
    if len(names) <= NUMBERED_CLASSES:
        for row, column in np.ndindex(*counts.shape):
            text = f"{int(counts[row, column]):,}\n{shares[row, column]:.0%}"
            color = "#ffffff" if shares[row, column] > 0.6 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    return figure


def pareto_figure(
    points: Mapping[str, tuple[float, float, tuple[float, float] | None]],
    front: Sequence[str],
    chosen: str,
    quality: str,
) -> Figure:
    """Quality against speed: {config: (images a second, quality, its interval)}; a line joins the front.

    Named are the configs on the front and the chosen one; all where there are at most ``NAMED_POINTS``.
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.subplots()
    path = sorted(points[name][:2] for name in front)
    axes.plot([x for x, _ in path], [y for _, y in path], color=GRID, linewidth=1.2, linestyle="--", zorder=1)
    for name, (speed, value, bounds) in sorted(points.items()):
        color = CHOSEN if name == chosen else GROUND if name in front else OTHERS
        if bounds:
            axes.plot([speed, speed], bounds, color=color, linewidth=1.2, alpha=0.6, zorder=2)
        axes.scatter([speed], [value], s=90 if name == chosen else 55, color=color, linewidths=0, zorder=3)
    axes.set_xscale("log")
    speeds = [speed for speed, _, _ in points.values()]
    if speeds:
        axes.set_xlim(min(speeds) / 1.6, max(speeds) * 1.6)
    axes.set_xlabel("images a second")
    axes.set_ylabel(f"{quality} on test")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    tidy(axes, grid="both", x_numbers=True)
    _name_points(figure, points, [name for name in points if len(points) <= NAMED_POINTS or name in {*front, chosen}])
    return figure


def _name_points(figure: Figure, points: Mapping[str, tuple[float, float, Any]], named: Sequence[str]) -> None:
    """Names beside the points, moved down from each other where they would overlap; on the right, left of them."""
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    step = (high - low) / 20  # about the height of a name
    slow, fast = axes.get_xlim()
    gap = (fast / slow) ** 0.018
    taken: list[tuple[float, float]] = []
    for name in sorted(named, key=lambda one: (-points[one][1], one)):
        speed, height = points[name][:2]
        while any(abs(height - other) < step and max(speed, at) / min(speed, at) < 3 for at, other in taken):
            height -= step
        taken.append((speed, height))
        left = np.log(speed / slow) > 0.6 * np.log(fast / slow)
        place = (speed / gap if left else speed * gap, height)
        axes.text(*place, plain(name, 28), fontsize=8.5, color=INK, va="center", ha="right" if left else "left")
