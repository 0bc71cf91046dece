"""Several fits of one model, of which val chooses one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from darkroom.metrics import balanced_accuracy, confusion
from training.classical.graphs import graph_probabilities
from training.data import equal_classes
from training.kinds import Fitted, Job

log = logging.getLogger(__name__)

Trial = Mapping[str, float]


@dataclass(frozen=True)
class Tried:
    """What one trial came to: the model as its library has it, the same as an ONNX graph, and numbers about it."""

    model: Any
    graph: bytes
    facts: Mapping[str, float] = field(default_factory=dict)


def trials_of(**options: Sequence[float]) -> list[Trial]:
    """Every combination of the values of some options."""
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def best_on_val(
    job: Job, inputs: np.ndarray, truth: np.ndarray, trials: Sequence[Trial], fit: Callable[[Trial], Tried]
) -> Fitted:
    """Fits each trial and keeps the graph with the lowest loss on val, which weighs every class alike.

    ``inputs`` are val's images uint8[N, H, W, C] or vectors float32[N, D], as the graphs take them; ``truth`` int64[N].
    """
    started = time.monotonic()
    history: list[dict[str, float]] = []
    best, kept = 0, Tried(None, b"")
    for number, trial in enumerate(trials, 1):
        began = time.monotonic()
        tried = fit(trial)
        measured = class_weighted(truth, graph_probabilities(tried.graph, inputs), len(job.classes))
        row = {**trial, **measured, **tried.facts, "seconds": time.monotonic() - began}
        history.append(row)
        if number == 1 or row["val_loss"] < history[best]["val_loss"]:
            best, kept = number - 1, tried
        job.on_step(number, row)
        left = (time.monotonic() - started) / number * (len(trials) - number)
        log.info(
            "fit %d/%d  %sval loss %.3f  val balanced accuracy %.3f  %.1f s, %.0f s left",
            *(
                number,
                len(trials),
                told(trial) + "  " * bool(trial),
                row["val_loss"],
                row["val_balanced_accuracy"],
                row["seconds"],
                left,
            ),
        )
    if len(trials) > 1:
        log.info("Kept %s", told(trials[best]))
    chosen = {f"kept_{name}": value for name, value in trials[best].items()}
    return Fitted(kept.graph, {"fit_seconds": time.monotonic() - started, **chosen, **kept.facts}, history)


def class_weighted(truth: np.ndarray, probabilities: np.ndarray, classes: int) -> dict[str, float]:
    """Log loss and balanced accuracy of float[N, classes]; the loss weighs every class alike."""
    weight = equal_classes(truth, classes)
    chosen = np.clip(probabilities[np.arange(len(truth)), truth], 1e-7, 1)
    matrix = confusion(truth, probabilities.argmax(axis=1), classes)
    return {
        "val_loss": float(np.average(-np.log(chosen), weights=weight)),
        "val_balanced_accuracy": float(balanced_accuracy(matrix)),
    }


def told(trial: Trial) -> str:
    """A trial for a log line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in trial.items())
