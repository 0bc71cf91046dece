"""The charts of training: confusion matrices and ROC curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom.figures import INK, legend_above, new_figure, plain, tidy
from darkroom.palette import CLASS_COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUND = "#2f6db5"
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


def roc_figure(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str], positive_class: str | None
) -> Figure:
    """ROC curves of {name: (truth int[N], probabilities float[N, C])}; of many classes the mean."""
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#8a939b", linewidth=1, linestyle=":", label="chance")
    for number, (name, (truth, probabilities)) in enumerate(curves.items()):
        across, up = roc_curve_of(truth, probabilities, classes, positive_class)
        if len(across):
            color = CLASS_COLORS[number % len(CLASS_COLORS)]
            area = float(np.trapezoid(up, across))
            axes.plot(across, up, color=color, linewidth=2, label=f"{plain(name)}, area {area:.3f}")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_aspect("equal")
    tidy(axes, grid="both", x_numbers=True)
    legend_above(figure)
    return figure


def roc_curve_of(
    truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], positive_class: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """(false, true positive rate); of more than two classes the mean over classes, at equal false positive rates."""
    from sklearn.metrics import roc_curve

    columns: list[Any] = list(range(len(classes)))
    if positive_class is not None and len(classes) == 2:
        columns = [list(classes).index(positive_class)]
    found = [
        roc_curve(truth == k, probabilities[:, k])[:2] for k in columns if 0 < int((truth == k).sum()) < len(truth)
    ]
    if not found:
        return np.array([]), np.array([])
    if len(found) == 1:
        return found[0]
    grid = np.unique(np.concatenate([across for across, _ in found]))
    return grid, np.mean([np.interp(grid, across, up) for across, up in found], axis=0)
