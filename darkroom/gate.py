"""The gate: may a challenger become champion? A pure function of predictions, closed when in doubt.

Rules, in this order; each failed one is a reason, and one reason is enough to refuse:
1. Both models were scored on the same images, with finite probabilities, and the champion could be scored at all.
2. What either model was trained on does not count. Enough images are left, and enough of every class that the
   challenger can name, whether or not it occurs among them.
3. The lower end of the challenger's 95 % bootstrap interval of balanced accuracy is above chance (1 / classes).
4. Every class's recall reaches a floor.
5. With a champion: the 95 % interval of the paired difference excludes a loss of more than the margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from darkroom.metrics import mean_recall, percentile_interval, resampled_counts


class GatePolicy(BaseModel):
    """The limits of the gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = Field(default=0.95, gt=0.5, lt=1, description="Level of the bootstrap intervals.")
    margin: float = Field(default=0.01, ge=0, le=1, description="Largest tolerated loss of balanced accuracy.")
    recall_floor: float = Field(default=0.5, ge=0, le=1, description="Smallest recall that every class must reach.")
    min_images: int = Field(default=40, ge=1, description="Fewest images that a decision may rest on.")
    min_per_class: int = Field(default=10, ge=1, description="Fewest images of each class that a decision may rest on.")
    rounds: int = Field(default=4000, ge=200, description="Bootstrap resamples.")
    seed: int = Field(default=0, ge=0, description="Seed of the bootstrap.")


@dataclass(frozen=True)
class Scores:
    """What one model said about the test images.

    ``content_ids``, ``truth`` and ``predicted`` (labels) go together, one an image; ``score`` is the probability
    of the predicted label. ``groups`` name images that belong together (a patient). ``trained_on`` holds the
    content_ids of the model's train and val images. ``problem`` says why the model could not be scored.
    """

    name: str
    content_ids: Sequence[str]
    truth: Sequence[str]
    predicted: Sequence[str]
    score: Sequence[float]
    groups: Sequence[str] | None = None
    trained_on: frozenset[str] = frozenset()
    problem: str | None = None

    @staticmethod
    def unavailable(name: str, problem: str) -> Scores:
        return Scores(name, (), (), (), (), problem=problem)


@dataclass(frozen=True)
class Verdict:
    """``promote`` or not, every reason in one sentence each, and the figures they rest on."""

    promote: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return "promote" if self.promote else "refuse"


@dataclass(frozen=True)
class _Images:
    """The images that count, in one order for both models; class indices, -1 where a label is unknown."""

    classes: list[str]
    truth: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray | None
    groups: np.ndarray | None


def decide(
    challenger: Scores, champion: Scores | None, classes: Sequence[str], policy: GatePolicy | None = None
) -> Verdict:
    """Compares the challenger with chance and, where there is one, with the champion.

    ``classes`` are those of the challenger's package: each of them must occur often enough.
    """
    policy = policy or GatePolicy()
    faults = [fault for scores in (challenger, champion) if scores for fault in _faults(scores)]
    if not faults and champion and set(challenger.content_ids) != set(champion.content_ids):
        faults.append(
            f"{challenger.name} was scored on {len(challenger.content_ids):,} images and {champion.name} on "
            f"{len(champion.content_ids):,}, and they are not the same ones."
        )
    if faults:
        return Verdict(False, tuple(faults))
    images, seen = _images_that_count(challenger, champion, classes)
    figures: dict[str, Any] = {"images": len(images.truth), "left_out_as_trained_on": seen, "chance": None}
    faults = _too_few(images, policy)
    if faults:
        return Verdict(False, tuple(faults), figures)
    resampled, rival_resampled = _resample(images, policy)
    recall = dict(zip(images.classes, _recalls(images, images.challenger).tolist(), strict=True))
    value = float(np.mean(list(recall.values())))
    low, high = percentile_interval(resampled, policy.level)
    chance = 1 / len(images.classes)
    figures |= {"chance": chance, "balanced_accuracy": value, "interval": [low, high], "recall": recall}
    percent = f"{policy.level:.0%}"
    passed: list[str] = []
    failed: list[str] = []
    sentence = f"Balanced accuracy {value:.3f}, {percent} interval {low:.3f} to {high:.3f}, chance {chance:.3f}"
    (passed if low > chance else failed).append(
        f"{sentence}: {'above chance' if low > chance else 'not surely above chance'}."
    )
    for name, share in recall.items():
        if not share >= policy.recall_floor:
            failed.append(f"Recall of {name} is {share:.3f}, below the floor of {policy.recall_floor:.3f}.")
    if champion is not None and images.champion is not None and rival_resampled is not None:
        rival = float(_recalls(images, images.champion).mean())
        loss_low, loss_high = percentile_interval(resampled - rival_resampled, policy.level)
        figures |= {"champion_balanced_accuracy": rival, "difference": value - rival}
        figures["difference_interval"] = [loss_low, loss_high]
        sentence = (
            f"Against {champion.name} ({rival:.3f}) the difference is {value - rival:+.3f}, "
            f"{percent} interval {loss_low:+.3f} to {loss_high:+.3f}"
        )
        if loss_low >= -policy.margin:
            passed.append(f"{sentence}: a loss of more than {policy.margin:.3f} is excluded.")
        else:
            failed.append(f"{sentence}: a loss of more than {policy.margin:.3f} is not excluded.")
    elif champion is None:
        passed.append("There is no champion yet, so nothing else to compare with.")
    return Verdict(not failed, tuple(failed or passed), figures)


def _faults(scores: Scores) -> list[str]:
    if scores.problem:
        return [f"{scores.name} could not be scored: {scores.problem}"]
    sizes = {len(scores.content_ids), len(scores.truth), len(scores.predicted), len(scores.score)}
    if scores.groups is not None:
        sizes.add(len(scores.groups))
    if len(sizes) != 1:
        return [f"{scores.name} has columns of different lengths: {sorted(sizes)}."]
    faults = []
    if len(set(scores.content_ids)) != len(scores.content_ids):
        faults.append(f"{scores.name} was scored on some images more than once.")
    broken = int((~np.isfinite(np.asarray(scores.score, dtype=np.float64))).sum())
    if broken:
        faults.append(f"{scores.name} gave no finite probability for {broken:,} images.")
    missing = sum(label is None for label in (*scores.truth, *scores.predicted))
    if missing:
        faults.append(f"{scores.name} lacks {missing:,} labels.")
    return faults


def _images_that_count(challenger: Scores, champion: Scores | None, known: Sequence[str]) -> tuple[_Images, int]:
    trained_on = challenger.trained_on | (champion.trained_on if champion else frozenset())
    keep = [position for position, key in enumerate(challenger.content_ids) if key not in trained_on]
    classes = sorted({*known, *challenger.truth, *challenger.predicted})
    index = {name: k for k, name in enumerate(classes)}
    predicted = None
    if champion:
        said = dict(zip(champion.content_ids, champion.predicted, strict=True))
        # A class that only the champion knows is a wrong answer, not an error.
        predicted = np.array([index.get(said[challenger.content_ids[k]], -1) for k in keep], dtype=np.int64)
    groups = challenger.groups
    images = _Images(
        classes=classes,
        truth=np.array([index[challenger.truth[k]] for k in keep], dtype=np.int64),
        challenger=np.array([index[challenger.predicted[k]] for k in keep], dtype=np.int64),
        champion=predicted,
        groups=None if groups is None else np.array([groups[k] for k in keep], dtype=object).astype(str),
    )
    return images, len(challenger.content_ids) - len(keep)


def _too_few(images: _Images, policy: GatePolicy) -> list[str]:
    faults = []
    if len(images.truth) < policy.min_images:
        faults.append(f"Only {len(images.truth):,} images can be compared; at least {policy.min_images:,} are needed.")
    support = np.bincount(images.truth, minlength=len(images.classes))
    for name, number in zip(images.classes, support.tolist(), strict=True):
        if number < policy.min_per_class:
            faults.append(f"Only {number:,} images of {name}; at least {policy.min_per_class:,} are needed.")
    if len(images.classes) < 2:
        faults.append(f"Only {len(images.classes)} class occurs; at least two are needed.")
    return faults


def _recalls(images: _Images, predicted: np.ndarray) -> np.ndarray:
    """Recall of each class, float64[C]; a label outside the classes is a miss."""
    support = np.bincount(images.truth, minlength=len(images.classes))
    hits = np.bincount(images.truth[predicted == images.truth], minlength=len(images.classes))
    return hits / support


def _resample(images: _Images, policy: GatePolicy) -> tuple[np.ndarray, np.ndarray | None]:
    """Balanced accuracies [rounds] of challenger and champion over the same resamples.

    Balanced accuracy needs only how many images of each class were right. So an image's kind is its class and
    whether each model was right: four kinds a class, drawn together, which keeps the comparison paired.
    """
    kinds = len(images.classes)
    right = (images.challenger == images.truth).astype(np.int64)
    rival = np.zeros_like(right) if images.champion is None else (images.champion == images.truth).astype(np.int64)
    cells = images.truth * 4 + right * 2 + rival
    drawn = resampled_counts(cells, kinds * 4, images.groups, rounds=policy.rounds, seed=policy.seed)
    drawn = drawn.reshape(policy.rounds, kinds, 2, 2)
    support = drawn.sum((2, 3))
    challenger = mean_recall(drawn[:, :, 1, :].sum(2), support)
    return challenger, None if images.champion is None else mean_recall(drawn[:, :, :, 1].sum(2), support)
