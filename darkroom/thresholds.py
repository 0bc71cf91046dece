"""Which threshold a two-class model calls positive from, chosen on val for a stated aim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from darkroom.errors import InvalidRequest
from darkroom.metrics import choose_threshold, predict_labels
from darkroom.statistics import wilson_interval


class BalancedAccuracyAim(BaseModel):
    """The best balanced accuracy, no further from 0.5 than val makes sure; see ``choose_threshold``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aim: Literal["balanced_accuracy"] = "balanced_accuracy"


class RecallAim(BaseModel):
    """A recall of one class that must be reached; of the thresholds that do, the one best for the other class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aim: Literal["recall"]
    of: str = Field(description="The class whose images must not be missed.")
    at_least: float = Field(gt=0, le=1, description="The share of its images on val that must be found.")


ThresholdAim = Annotated[BalancedAccuracyAim | RecallAim, Field(discriminator="aim")]


@dataclass(frozen=True)
class Threshold:
    """The threshold on the positive class, whether the aim is reached on val, and a sentence about it."""

    value: float
    reached: bool
    note: str


def check_aim(aim: BalancedAccuracyAim | RecallAim, classes: Sequence[str], config: str) -> None:
    """Raises InvalidRequest where the classes do not allow the aim."""
    if not isinstance(aim, RecallAim):
        return
    if len(classes) != 2:
        raise InvalidRequest(
            f"The training config {config} asks for a recall of {aim.of!r} by a threshold, and there are "
            f"{len(classes)} classes. Expected two. Take threshold: {{aim: balanced_accuracy}}."
        )
    if aim.of not in classes:
        raise InvalidRequest(
            f"The training config {config} asks for a recall of {aim.of!r}. Expected one of {', '.join(classes)}."
        )


def find_threshold(
    aim: BalancedAccuracyAim | RecallAim,
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    positive: int,
    looks: int = 1,
) -> Threshold:
    """The threshold for an aim on val: ``truth`` int[N], ``probabilities`` float[N, 2], calibrated.

    Each image is among the N ``looks`` times, which counts where the aim is the balanced accuracy.

    Where a recall cannot be reached, the threshold that comes nearest is taken, and ``reached`` is False.
    """
    if not isinstance(aim, RecallAim):
        value = choose_threshold(truth == positive, probabilities[:, positive], looks)
        return Threshold(value, True, f"{value:.4g}, chosen on val for balanced accuracy")
    wanted = list(classes).index(aim.of)
    if not (truth == wanted).any():
        return Threshold(0.5, False, f"0.5: val has no image of {aim.of}, so that no recall of it can be aimed at")
    value = _for_recall(truth == wanted, probabilities[:, positive], wanted == positive, aim.at_least)
    found = predict_labels(probabilities, positive, value) == truth
    hits, count = int(found[truth == wanted].sum()), int((truth == wanted).sum())
    others = int((truth != wanted).sum())
    low, high = wilson_interval(hits, count) or (0.0, 1.0)
    reached = hits >= aim.at_least * count - 1e-9
    kept = int(found[truth != wanted].sum())
    so = "at least" if reached else "as near as can be to"
    note = (
        f"{value:.4g}, chosen on val so that the recall of {aim.of} is {so}"
        f" {aim.at_least:g}: it is {hits / count:.3f} there ({low:.3f} to {high:.3f}, {count:,} images)"
    )
    if others and not kept:
        note += f". Nothing is called {classes[1 - wanted]} any more: the model cannot do this"
    return Threshold(value, reached, note)


def _for_recall(wanted: np.ndarray, positive_probability: np.ndarray, is_positive: bool, at_least: float) -> float:
    """The least extreme threshold that finds the share of the wanted images, half-way to the next probability."""
    values = np.unique(positive_probability.astype(np.float64))
    inner = (values[1:] + values[:-1]) / 2
    cuts = np.concatenate([[0.0], inner, [(values[-1] + 1) / 2 if values[-1] < 1 else 1.0]])
    mine = np.sort(positive_probability[wanted])
    below = np.searchsorted(mine, cuts, side="left")  # wanted images that a cut calls negative
    recall = (len(mine) - below if is_positive else below) / len(mine)
    good = np.flatnonzero(recall >= at_least - 1e-9)
    if len(good):
        return float(cuts[good[-1] if is_positive else good[0]])
    return float(cuts[int(recall.argmax())])
