"""Charts of what a split and its rebalancing did: before and after, side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from darkroom.contract import OUT, SPLITS
from darkroom.eda.plots import FULL, HALF, OTHER, class_name, shown_classes, split_name
from darkroom.eda.statistics import Facts, cross
from darkroom.figures import INK, ink_on, legend_above, new_figure, plain, tidy
from darkroom.html import number


def before_and_after(facts: Facts) -> Figure:
    """Distinct images by split and class: as given on the left, after the split on the right, one scale."""
    assert facts.splits is not None
    rows, classes = facts.splits, shown_classes(facts)
    figure = new_figure(*FULL)
    left, right = figure.subplots(1, 2, sharey=True)
    given: list[str | None] = [name for name in SPLITS if (rows["given_split"] == name).any()]
    if rows["given_split"].isna().any():
        given.append(None)
    _stacked(left, facts, rows, classes, given, "given_split")
    new: list[str | None] = [*SPLITS, OUT] if (rows["split"] == OUT).any() else [*SPLITS]
    _stacked(right, facts, rows, classes, new, "split")
    left.set_ylabel("distinct images", color=INK)
    left.set_title("before: as given", fontsize=10, color=INK, loc="left")
    right.set_title("after the split", fontsize=10, color=INK, loc="left")
    legend_above(figure)
    right.tick_params(labelleft=False)
    return figure


def where_images_went(facts: Facts) -> Figure:
    """A table in colours: rows are the given splits, columns the new ones, cells how many images went there."""
    assert facts.splits is not None
    rows = facts.splits
    given: list[str | None] = [name for name in SPLITS if (rows["given_split"] == name).any()]
    if rows["given_split"].isna().any():
        given.append(None)
    new = [*SPLITS, OUT]
    counts = np.array([[int((_is(rows["given_split"], one) & (rows["split"] == other)).sum()) for other in new]
                       for one in given])  # fmt: skip
    figure = new_figure(HALF[0], 0.6 * len(given) + 1.2)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for y in range(len(given)):
        for x in range(len(new)):
            axes.add_patch(_cell(x, y, float(shares[y, x])))
            axes.text(x, y, number(int(counts[y, x])), ha="center", va="center", color=INK, fontsize=10)
    axes.set_xlim(-0.5, len(new) - 0.5)
    axes.set_ylim(len(given) - 0.5, -0.5)
    axes.set_xticks(range(len(new)), new)
    axes.set_yticks(range(len(given)), [split_name(name) for name in given])
    axes.xaxis.tick_top()
    tidy(axes, grid="none", y_numbers=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_ylabel("given")
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("after the split")
    return figure


def train_balance(facts: Facts, table: pd.DataFrame) -> Figure:
    """Train's classes before and after rebalancing: images, those seen an epoch, the loss; in per cent."""
    shown = [label for label in shown_classes(facts) if label is not None and label in table.index]
    stages = {"before": "images before", "after": "images after", "seen": "seen an epoch", "loss": "weight in the loss"}
    totals = table[list(stages)].astype(float)
    shares = 100 * totals / totals.sum().clip(lower=1e-12)
    figure = new_figure(*HALF)
    axes = figure.subplots()
    bottom = np.zeros(len(stages))
    for label in shown:
        values = shares.loc[label].to_numpy(float)
        bars = axes.bar(range(len(stages)), values, 0.62, bottom=bottom, color=facts.colors[label],
                        label=plain(class_name(label), 22))  # fmt: skip
        axes.bar_label(bars, [f"{value:.0f} %" if value >= 7 else "" for value in values], label_type="center",
                       fontsize=9, color=ink_on(facts.colors[label]))  # fmt: skip
        bottom += values
    axes.set_xticks(range(len(stages)), [name.replace(" ", "\n", 1) for name in stages.values()])
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of train, %")
    tidy(axes, grid="none")
    legend_above(figure)
    return figure


def _stacked(
    axes: Axes, facts: Facts, rows: pd.DataFrame, classes: list[str | None], splits: list[str | None], column: str
) -> None:
    counts = cross(rows, classes, splits, column)
    totals = np.array([int(_is(rows[column], split).sum()) for split in splits])
    bottom = np.zeros(len(splits))
    for position, label in enumerate(classes):
        axes.bar(range(len(splits)), counts[:, position], 0.62, bottom=bottom, color=facts.colors[label],
                 label=plain(class_name(label), 22))  # fmt: skip
        bottom += counts[:, position]
    rest = totals - bottom
    if (rest > 0).any():
        axes.bar(range(len(splits)), rest, 0.62, bottom=bottom, color=OTHER, label="other classes")
    for place, total in enumerate(totals):
        axes.annotate(
            number(int(total)), (place, total), xytext=(0, 3), textcoords="offset points", ha="center", color=INK
        )
    axes.set_xticks(range(len(splits)), [split_name(split) for split in splits])
    axes.set_xlim(-0.7, max(len(splits), 2) - 0.3)
    axes.margins(y=0.1)
    tidy(axes)


def _cell(x: int, y: int, share: float) -> Rectangle:
    return Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, facecolor="#2f6db5", alpha=0.06 + 0.5 * share, linewidth=0)


def _is(values: pd.Series, name: str | None) -> pd.Series:
    return values.isna() if name is None else values == name
