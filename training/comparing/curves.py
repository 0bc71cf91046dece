"""The curves of training: ROC, precision-recall, and reliability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from darkroom.calibration import reliability
from darkroom.figures import GRID, INK, legend_above, new_figure, plain, tidy
from darkroom.metrics import calibration_error
from darkroom.palette import CLASS_COLORS
from darkroom.statistics import ranking_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]

CHANCE = "#8a939b"
GROUND = "#2f6db5"


def roc_figure(curves: Curves, classes: Sequence[str], positive_class: str | None) -> Figure:
    """ROC curves of {name: (truth int[N], probabilities float[N, C])}; of many classes the mean."""
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=CHANCE, linewidth=1, linestyle=":", label="chance")
    for number, (name, (truth, probabilities)) in enumerate(curves.items()):
        across, up = roc_curve_of(truth, probabilities, classes, positive_class)
        if len(across):
            area = float(np.trapezoid(up, across))
            axes.plot(across, up, color=_color(number), linewidth=2, label=f"{plain(name, 24)}, area {area:.3f}")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    return _square(figure)


def pr_figure(curves: Curves, classes: Sequence[str], positive_class: str | None) -> Figure:
    """Precision against recall, like ``roc_figure``; the area in the legend is the average precision."""
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    shares = []
    for number, (name, (truth, probabilities)) in enumerate(curves.items()):
        across, up, area, share = pr_curve_of(truth, probabilities, classes, positive_class)
        if len(across):
            shares.append(share)
            label = f"{plain(name, 24)}, area {area:.3f}"
            axes.plot(across, up, color=_color(number), linewidth=2, label=label, drawstyle="steps-pre")
    if shares:
        axes.axhline(shares[0], color=CHANCE, linewidth=1, linestyle=":", label="chance", zorder=0)
    axes.set_xlim(-0.05, 1.05)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    return _square(figure)


def reliability_figure(score: np.ndarray, right: np.ndarray) -> Figure:
    """The share of right answers against the predicted label's probability: on the diagonal both are the same.

    ``score`` float[N], ``right`` bool[N]. The area of a dot shows how many images it stands for; bars are Wilson's
    intervals.
    """
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=CHANCE, linewidth=1, linestyle=":", label="as right as it is sure")
    seen = [one for one in reliability(score, right) if one.count]
    if seen:
        across = np.array([one.score for one in seen], dtype=np.float64)
        up = np.array([one.right for one in seen], dtype=np.float64)
        low = np.array([one.right_low for one in seen], dtype=np.float64)
        high = np.array([one.right_high for one in seen], dtype=np.float64)
        sizes = np.array([one.count for one in seen], dtype=np.float64)
        reach = np.abs(np.stack([up - low, high - up]))
        axes.errorbar(across, up, yerr=reach, fmt="none", ecolor=GRID, elinewidth=1.2, zorder=2)
        error = calibration_error(np.asarray(score, dtype=np.float64), right) or 0.0
        axes.plot(across, up, color=GROUND, linewidth=1.5, label=f"this model, calibration error {error:.3f}")
        axes.scatter(across, up, s=20 + 260 * sizes / sizes.max(), color=GROUND, alpha=0.85, linewidths=0, zorder=3)
        axes.set_xlim(max(0.0, float(across.min()) - 0.08), 1.03)
        axes.set_ylim(max(-0.03, float(low.min()) - 0.05), 1.03)
    axes.set_xlabel("probability of the predicted label")
    axes.set_ylabel("share of right answers")
    tidy(axes, grid="both", x_numbers=True)
    legend_above(figure)
    return figure


def roc_curve_of(
    truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], positive_class: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """(false, true positive rate); of more than two classes the mean over classes, at equal false positive rates."""
    from sklearn.metrics import roc_curve

    columns = _columns(truth, classes, positive_class)
    found = [roc_curve(truth == k, probabilities[:, k])[:2] for k in columns]
    if not found:
        return np.array([]), np.array([])
    if len(found) == 1:
        return found[0]
    grid = np.unique(np.concatenate([across for across, _ in found]))
    return grid, np.mean([np.interp(grid, across, up) for across, up in found], axis=0)


def pr_curve_of(
    truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], positive_class: str | None
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(recall, precision, average precision, precision of chance); of many classes the mean at equal recalls."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    columns = _columns(truth, classes, positive_class)
    if not columns:
        return np.array([]), np.array([]), 0.0, 0.0
    area = float(np.mean([average_precision_score(truth == k, probabilities[:, k]) for k in columns]))
    share = float(np.mean([(truth == k).mean() for k in columns]))
    found = []
    for k in columns:
        precision, recall, _ = precision_recall_curve(truth == k, probabilities[:, k])
        found.append((recall[::-1], precision[::-1]))
    if len(found) == 1:
        return *found[0], area, share
    grid = np.linspace(0, 1, 201)
    # At a recall, the precision of the first threshold that reaches it.
    steps = [precision[np.searchsorted(recall, grid, side="left")] for recall, precision in found]
    return grid, np.mean(steps, axis=0), area, share


def _columns(truth: np.ndarray, classes: Sequence[str], positive_class: str | None) -> list[int]:
    """The classes that have both images of theirs and others."""
    positive = None if positive_class is None else list(classes).index(positive_class)
    columns = ranking_columns(len(classes), positive)
    return [k for k in columns if 0 < int((truth == k).sum()) < len(truth)]


def _color(number: int) -> str:
    return CLASS_COLORS[number % len(CLASS_COLORS)]


def _square(figure: Figure) -> Figure:
    axes = figure.axes[0]
    axes.set_aspect("equal")
    tidy(axes, grid="both", x_numbers=True)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        legend_above(figure)
    else:
        axes.text(0.5, 0.5, "not every class occurs", ha="center", va="center", color=INK)
    return figure
