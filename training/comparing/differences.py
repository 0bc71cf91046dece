"""Which config won, and whether the difference is real: the numbers of a comparison and its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from darkroom.html import plural
from darkroom.metrics import METRIC_NAMES
from darkroom.resampling import bootstrap_p, interval_of
from darkroom.statistics import FEWEST_GROUPS, Difference, delong, holm, mcnemar, swap_test
from training.comparing.measured import LEVEL, Measured

COMPARED = ("balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc")


@dataclass(frozen=True)
class Compared:
    """One metric of the challenger minus that of a rival, on the same images.

    ``p_holm`` is corrected for all rivals that the challenger is compared with; ``real`` goes by it.
    """

    rival: str
    metric: str
    difference: Difference
    p_holm: float | None = None

    @property
    def real(self) -> bool | None:
        """Whether the two differ at the level; None where that cannot be told."""
        return None if self.p_holm is None else self.p_holm < 1 - LEVEL

    def as_dict(self) -> dict[str, Any]:
        return {"rival": self.rival, "metric": self.metric, **asdict(self.difference)} | {
            "p_holm": self.p_holm,
            "real": self.real,
        }


def compare(challenger: Measured, rivals: Sequence[Measured]) -> list[Compared]:
    """The challenger against each rival in every metric; p-values of a metric are Holm's over the rivals."""
    found: list[Compared] = []
    for metric in COMPARED:
        row = [Compared(rival.config, metric, difference_of(metric, challenger, rival)) for rival in rivals]
        corrected = holm([one.difference.p for one in row])
        found += [replace(one, p_holm=p) for one, p in zip(row, corrected, strict=True)]
    return found


def difference_of(metric: str, mine: Measured, other: Measured) -> Difference:
    """Value, interval and p of one metric, by the method that is right for it; see docs/evaluation.md."""
    if mine.info.positive_class != other.info.positive_class and metric in ("roc_auc", "pr_auc"):
        return Difference(None, None, None, None, "", "the two call different classes positive")
    if mine.metrics[metric] is None or other.metrics[metric] is None:
        reason = mine.metrics["undefined"].get(metric) or other.metrics["undefined"].get(metric, "")
        return Difference(None, None, None, None, "", reason)
    truth = mine.truth
    groups = None if len(np.unique(mine.groups)) == len(truth) else mine.groups
    if metric == "roc_auc":
        return delong(truth, mine.probabilities, other.probabilities, mine.positive, groups, level=LEVEL)
    drawn = mine.resamples[metric] - other.resamples[metric]
    bounds = interval_of(drawn, LEVEL) or (None, None)
    if metric == "accuracy":
        found = mcnemar(mine.labels == truth, other.labels == truth, groups)
    elif metric == "pr_auc":
        found = _by_bootstrap(mine, other, drawn)
    else:
        found = swap_test(metric, truth, mine.labels, other.labels, len(mine.info.classes), groups)
    return replace(found, low=bounds[0], high=bounds[1])


def _by_bootstrap(mine: Measured, other: Measured, drawn: np.ndarray) -> Difference:
    value = mine.metrics["pr_auc"] - other.metrics["pr_auc"]
    fewest = min(len(np.unique(mine.groups[mine.truth == k])) for k in range(len(mine.info.classes)))
    if fewest < FEWEST_GROUPS:
        reason = f"a class has {plural(fewest, 'independent image')}; {FEWEST_GROUPS} are needed"
        return Difference(value, None, None, None, "bootstrap", reason)
    p = bootstrap_p(drawn)
    return Difference(value, None, None, p, "bootstrap", "" if p is not None else "too many resamples lack a class")


def who_won(challenger: str, compared: Sequence[Compared], metric: str, images: int) -> str:
    """The sentence: the challenger against the rival that is nearest to it or ahead of it, and what can be said."""
    name = METRIC_NAMES[metric]
    mine = [one for one in compared if one.metric == metric]
    if not mine:
        return f"{challenger} was trained alone: there is no other config to compare it with."
    told = [one for one in mine if one.difference.value is not None]
    if not told:
        return f"No config can be compared on test by {name}: {mine[0].difference.reason}."
    nearest = min(told, key=lambda one: (one.difference.value or 0.0, one.rival))
    return _sentence(challenger, nearest, name, images, len(told))


def _sentence(challenger: str, one: Compared, name: str, images: int, rivals: int) -> str:
    found = one.difference
    value = found.value or 0.0
    if abs(value) < 5e-4:
        text = f"{challenger} and {one.rival} have the same {name} on test, to three digits"
    elif value > 0:
        lead = "won" if one.real else "is ahead"
        text = f"{challenger} {lead}: its {name} on test is {abs(value):.3f}{_reach(found)} above that of {one.rival}"
        text += ", the next best" if rivals > 1 else ""
    else:
        text = (
            f"{challenger} was best on val, but on test {one.rival} is {abs(value):.3f}{_reach(found)} ahead in {name}"
        )
    text += f" ({images:,} images). "
    if one.real is None:
        return f"{text}Whether that is more than chance cannot be told: {found.reason}."
    many = f", counted as one of {rivals} comparisons" if rivals > 1 else ""
    p = f"p = {one.p_holm:.3f}" if (one.p_holm or 0) >= 0.001 else "p < 0.001"
    if one.real:
        return f"{text}The difference is real at {LEVEL * 100:.0f} % ({p}{many}; {found.method})."
    return f"{text}The two cannot be told apart at {LEVEL * 100:.0f} % ({p}{many}; {found.method})."


def _reach(found: Difference) -> str:
    """The interval as it is read in a sentence about a gain or a loss."""
    if found.low is None or found.high is None:
        return ""
    low, high = (found.low, found.high) if (found.value or 0) > 0 else (-found.high, -found.low)
    return f" ({low:.3f} to {high:.3f})"
