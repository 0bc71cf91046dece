"""How accuracy on val depends on the threshold: a picture and a table for a run's page."""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0, 1, 101)


def accuracy_by_threshold(positive: np.ndarray, probability: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of float64[101]: threshold, accuracy, and the recall of both classes (NaN of one without images).

    ``positive`` bool[N], ``probability`` float[N]. An image is called positive from the threshold on.
    """
    called = probability[None, :] >= THRESHOLDS[:, None]
    right = called == positive
    recall = [
        right[:, part].mean(axis=1) if part.any() else np.full(len(THRESHOLDS), np.nan)
        for part in (positive, ~positive)
    ]
    return {
        "threshold": THRESHOLDS,
        "accuracy": right.mean(axis=1),
        "recall_of_positive": recall[0],
        "recall_of_negative": recall[1],
    }


def threshold_files(config: str, positive: np.ndarray, probability: np.ndarray, name: str) -> dict[str, bytes]:
    """accuracy_by_threshold_val as PNG and CSV; ``name`` is the positive class."""
    from darkroom.figures import legend_above, new_figure, plain, png, tidy
    from darkroom.palette import CLASS_COLORS

    columns = accuracy_by_threshold(positive, probability)
    figure = new_figure(5.2, 3.6)
    axes = figure.subplots()
    told = ("accuracy", f"recall of {plain(name)}", "recall of the other class")
    for color, label, values in zip(CLASS_COLORS, told, list(columns.values())[1:], strict=False):
        axes.plot(THRESHOLDS, values, color=color, linewidth=2, label=label)
    axes.set_xlabel(f"called {plain(name)} from this probability on")
    axes.set_ylabel("share of val")
    tidy(axes, grid="both", x_numbers=True)
    legend_above(figure)
    rows = [
        ",".join(columns),
        *(",".join(f"{value:.6g}" for value in row) for row in zip(*columns.values(), strict=True)),
    ]
    title = f"Accuracy by threshold: {config} on val, {len(positive):,} images"
    return {
        "accuracy_by_threshold_val.png": png(figure, title=title),
        "accuracy_by_threshold_val.csv": ("\n".join(rows) + "\n").encode(),
    }
