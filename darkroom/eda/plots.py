"""The EDA's charts of counts, sizes and intensities. Each returns a figure that ``darkroom.figures`` writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from darkroom.eda.pictures import Histograms
from darkroom.eda.statistics import STATISTICS, Facts, cross, of_class, of_split
from darkroom.figures import GRID, INK, ink_on, legend_above, new_figure, plain, tidy
from darkroom.html import number
from darkroom.palette import split_color

HALF = (5.4, 3.5)
FULL = (10.8, 3.9)
MAX_CLASSES = 12
MAX_POINTS = 5000

Classes = list[str | None]
OTHER = "#c3cad1"


def split_name(split: str | None) -> str:
    return "no split" if split is None else split


def class_name(label: str | None) -> str:
    return "no label" if label is None else label


def shown_classes(facts: Facts, limit: int = MAX_CLASSES) -> Classes:
    """The largest classes, then None where images without a label exist."""
    named: Classes = [*facts.classes[:limit]]
    return [*named, None] if facts.rows["label"].isna().any() else named


def images_per_split(facts: Facts) -> Figure:
    figure = new_figure(*HALF)
    axes = figure.subplots()
    counts = [len(of_split(facts.rows, split)) for split in facts.split_names]
    bars = axes.bar(
        [split_name(split) for split in facts.split_names],
        counts,
        color=[split_color(split) for split in facts.split_names],
        width=0.6,
    )
    axes.bar_label(bars, [number(count) for count in counts], padding=3, color=INK, fontsize=10)
    axes.set_ylabel(f"{facts.noun}s")
    axes.margins(y=0.12)
    axes.set_xlim(-0.7, max(len(counts), 2) - 0.3)
    tidy(axes)
    return figure


def split_pie(facts: Facts) -> Figure:
    """A ring, its parts in the colours of the splits; small parts are named in the legend alone."""
    figure = new_figure(*HALF)
    axes = figure.subplots()
    counts = [len(of_split(facts.rows, split)) for split in facts.split_names]
    colors = [split_color(split) for split in facts.split_names]
    axes.pie(counts, colors=colors, startangle=90, counterclock=False, radius=1.15,
             wedgeprops={"width": 0.42, "edgecolor": "none"})  # fmt: skip
    total = sum(counts)
    axes.text(0, 0, f"{number(total)}\n{facts.noun}s", ha="center", va="center", color=INK, fontsize=11)
    figure.legend(
        handles=[
            Patch(color=color, label=f"{split_name(split)}  {100 * count / total:.1f} %")
            for split, count, color in zip(facts.split_names, counts, colors, strict=True)
        ],
        loc="outside right center",
        frameon=False,
        labelcolor=INK,
    )
    return figure


def population(facts: Facts) -> Figure:
    """Each split as one bar of 100 %, cut by class."""
    classes = shown_classes(facts)
    splits = list(reversed(facts.compared))
    figure = new_figure(HALF[0], max(2.2, 0.62 * len(splits) + 1.2))
    axes = figure.subplots()
    counts = cross(facts.rows, classes, splits)
    totals = np.array([max(len(of_split(facts.rows, split)), 1) for split in splits])
    left = np.zeros(len(splits))
    for position, label in enumerate(classes):
        share = 100 * counts[:, position] / totals
        bars = axes.barh(range(len(splits)), share, left=left, color=facts.colors[label], height=0.62)
        texts = [f"{value:.0f} %" if value >= 9 else "" for value in share]
        axes.bar_label(bars, texts, label_type="center", color=ink_on(facts.colors[label]), fontsize=9)
        left += share
    axes.barh(range(len(splits)), 100 - left, left=left, color=OTHER, height=0.62)
    axes.set_yticks(range(len(splits)), [split_name(split) for split in splits])
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the split, %")
    tidy(axes, grid="none", y_numbers=False)
    _class_legend(figure, facts, classes, rest=bool((left < 99.9).any()))
    return figure


def classes_per_split(facts: Facts) -> Figure:
    """Bars a class, side by side for the splits; on their side when there are many classes."""
    classes = shown_classes(facts)
    splits = facts.split_names
    counts = cross(facts.rows, classes, splits)
    many = len(classes) > 5 or max(len(class_name(label)) for label in classes) * len(classes) > 44
    figure = new_figure(HALF[0], 0.17 * len(classes) * max(len(splits), 2) + 1.2) if many else new_figure(*HALF)
    axes = figure.subplots()
    step = 0.8 / max(len(splits), 1)
    for position, split in enumerate(splits):
        places = np.arange(len(classes)) - 0.4 + step * (position + 0.5)
        draw = axes.barh if many else axes.bar
        bars = draw(places, counts[position], step * 0.92, color=split_color(split), label=split_name(split))
        if counts.size <= 60:
            axes.bar_label(bars, [number(value) for value in counts[position]], padding=2, color=INK, fontsize=8)
    names = [plain(class_name(label), 26) for label in classes]
    if many:
        axes.set_yticks(range(len(classes)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"{facts.noun}s")
        tidy(axes, grid="x", x_numbers=True, y_numbers=False)
        axes.margins(x=0.12, y=0.02)
    else:
        axes.set_xticks(range(len(classes)), names)
        axes.set_xlim(-0.75, max(len(classes), 2) - 0.25)
        axes.set_ylabel(f"{facts.noun}s")
        tidy(axes)
        axes.margins(y=0.12)
    legend_above(figure)
    return figure


def widths_and_heights(facts: Facts) -> Figure:
    """A dot an image, at most MAX_POINTS, evenly taken from the sorted rows; colour by class."""
    rows = facts.usable.dropna(subset=["width", "height"])
    rows = rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), MAX_POINTS)).astype(int)]
    classes = shown_classes(facts)
    figure = new_figure(*HALF)
    axes = figure.subplots()
    colors = rows["label"].map({label: facts.colors[label] for label in classes if label is not None}).astype(object)
    colors = colors.where(colors.notna(), facts.colors[None])
    mixed = np.random.default_rng(0).permutation(len(rows))  # no class is drawn over all others
    widths, heights = rows["width"].to_numpy(float)[mixed], rows["height"].to_numpy(float)[mixed]
    axes.scatter(widths, heights, s=10, c=colors.to_numpy()[mixed], alpha=0.55, linewidths=0, rasterized=True)
    top = 1.05 * max(float(widths.max()), float(heights.max()))
    axes.plot([0, top], [0, top], color=GRID, linewidth=0.9, linestyle=(0, (4, 4)), zorder=0)
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    axes.set_xlim(0.9 * float(widths.min()), 1.05 * float(widths.max()))
    axes.set_ylim(0.9 * float(heights.min()), 1.05 * float(heights.max()))
    tidy(axes, grid="both", x_numbers=True)
    _class_legend(figure, facts, classes)
    return figure


def size_histograms(facts: Facts) -> Figure:
    """Widths above heights, the classes as lines, so that a class with sizes of its own stands out."""
    classes = shown_classes(facts, 6)
    figure = new_figure(*HALF)
    for axes, name in zip(figure.subplots(2, 1), ("width", "height"), strict=True):
        values = facts.usable[name].dropna().to_numpy(float)
        edges = np.linspace(values.min(), values.max() + 1, 41)
        _class_lines(axes, facts, classes, name, edges)
        axes.set_xlabel(f"{name}, pixels")
        axes.set_ylabel("% of class")
        tidy(axes, x_numbers=True)
    _class_legend(figure, facts, classes)
    return figure


def intensity_of_images(facts: Facts, column: str, name: str) -> Figure:
    """The mean or the standard deviation of each image's intensity, as a histogram a class."""
    classes = shown_classes(facts, 6)
    figure = new_figure(*HALF)
    axes = figure.subplots()
    top = 255 if column == "mean" else 128
    _class_lines(axes, facts, classes, column, np.linspace(0, top, 52))
    axes.set_xlabel(f"{name} of an image, 0 to {top} gray levels")
    axes.set_ylabel("% of class")
    tidy(axes, x_numbers=True)
    _class_legend(figure, facts, classes)
    return figure


def pixel_intensity(found: Histograms, facts: Facts, *, by: str) -> Figure:
    """How often each gray level occurs, a line a split or a class."""
    figure = new_figure(*HALF)
    axes = figure.subplots()
    lines = found.splits if by == "split" else found.classes
    for name, shares in lines.items():
        color = split_color(name) if by == "split" else facts.colors[name]
        label = split_name(name) if by == "split" else plain(class_name(name), 22)
        smooth = np.convolve(np.pad(shares, 2, mode="edge"), np.ones(5) / 5, mode="valid")
        axes.fill_between(range(256), 100 * smooth, color=color, alpha=0.13, linewidth=0)
        axes.plot(range(256), 100 * smooth, color=color, linewidth=1.8, label=label)
    axes.set_xlim(0, 255)
    top = max((float(np.sort(shares[1:255])[-3]) for shares in lines.values()), default=0.01)
    axes.set_ylim(0, 140 * max(top, 0.002))  # a spike of pure black or white must not flatten the rest
    axes.set_xlabel("intensity, 0 (black) to 255 (white)")
    axes.set_ylabel("% of pixels")
    tidy(axes, x_numbers=True)
    legend_above(figure)
    return figure


def intensity_statistics(facts: Facts) -> Figure:
    """Boxes of mean, standard deviation, minimum and maximum, a box a split; whiskers from 5 % to 95 %."""
    figure = new_figure(*FULL)
    titles = {"mean": "mean", "std": "standard deviation", "min": "minimum", "max": "maximum"}
    for axes, name in zip(figure.subplots(1, 4, sharey=True), STATISTICS, strict=True):
        boxes, colors, names = [], [], []
        for split in facts.compared:
            values = of_split(facts.usable, split)[name].dropna().to_numpy(float)
            if len(values):
                boxes.append(values)
                colors.append(split_color(split))
                names.append(split_name(split))
        drawn = axes.boxplot(boxes, whis=(5, 95), showfliers=False, widths=0.55, patch_artist=True, tick_labels=names)
        for patch, color in zip(drawn["boxes"], colors, strict=True):
            patch.set(facecolor=color, edgecolor="none", alpha=0.85)
        for line in (*drawn["whiskers"], *drawn["caps"], *drawn["medians"]):
            line.set(color=INK, linewidth=1.1)
        axes.set_title(titles[name], fontsize=10, color=INK, loc="left")
        axes.set_ylim(-8, 263)
        axes.set_yticks(range(0, 256, 51))
        tidy(axes)
    figure.axes[0].set_ylabel("intensity, 0 to 255", color=INK)
    return figure


def _class_lines(axes: Axes, facts: Facts, classes: Sequence[str | None], column: str, edges: np.ndarray) -> None:
    for label in classes:
        values = of_class(facts.usable, label)[column].dropna().to_numpy(float)
        if len(values):
            share = 100 * np.histogram(values, edges)[0] / len(values)
            axes.stairs(share, edges, color=facts.colors[label], linewidth=1.6)
            axes.stairs(share, edges, color=facts.colors[label], fill=True, alpha=0.12)


def _class_legend(figure: Figure, facts: Facts, classes: Sequence[str | None], *, rest: bool = False) -> None:
    named = [Patch(color=facts.colors[label], label=plain(class_name(label), 22)) for label in classes]
    others = len(facts.classes) - sum(1 for label in classes if label is not None)
    if rest or others > 0:
        named.append(Patch(color=OTHER, label=f"{number(others)} others"))
    legend_above(figure, named)
