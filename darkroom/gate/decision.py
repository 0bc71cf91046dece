"""The rules of the gate. Each failed one is a reason, and one reason is enough to refuse.

1. Both models were scored on the same images with the same labels, with finite probabilities, and the champion could
   be scored at all.
2. What either model was trained on does not count. Enough images are left, and enough of every class that the
   challenger can name, whether or not it occurs among them.
3. The lower end of the challenger's bootstrap interval of the primary metric is above chance: 1 / classes for balanced
   accuracy, the share of the largest class for accuracy.
4. Every class's recall reaches its floor.
5. The calibration error, the time for an image and the package's size stay below their limits.
6. With a champion: the two do not say the same about every image (a tie keeps the champion), and the interval of the
   paired difference excludes a loss above the margin, or shows a gain above it.
7. With a champion: no slice of the images surely lost more than its margin.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from darkroom.gate.policy import GatePolicy
from darkroom.gate.scores import Counted, Scores, counted
from darkroom.metrics import METRIC_NAMES, calibration_error, mean_recall, percentile_interval, resampled_counts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """``promote`` or not, every reason in one sentence each, and the figures they rest on."""

    promote: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return "promote" if self.promote else "refuse"


@dataclass
class _Findings:
    """What the rules found so far."""

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def judge(self, good: bool, sentence: str) -> None:
        (self.passed if good else self.failed).append(sentence)


def decide(
    challenger: Scores, champion: Scores | None, classes: Sequence[str], policy: GatePolicy | None = None
) -> Verdict:
    """Compares the challenger with chance and, where there is one, with the champion.

    ``classes`` are those of the challenger's package: each of them must occur often enough. Never raises: what goes
    wrong here is a reason to refuse.
    """
    try:
        return _decide(challenger, champion, classes, policy or GatePolicy())
    except Exception as error:  # a gate that cannot decide does not let pass
        log.exception("The gate could not decide.")
        return Verdict(False, (f"The gate could not decide: {type(error).__name__}: {error}.",))


def _decide(challenger: Scores, champion: Scores | None, classes: Sequence[str], policy: GatePolicy) -> Verdict:
    faults = [fault for scores in (challenger, champion) if scores for fault in scores.faults()]
    if not faults and champion and challenger.test_set != champion.test_set:
        faults.append(
            f"{challenger.name} was scored on {len(challenger.content_ids):,} images and {champion.name} on "
            f"{len(champion.content_ids):,}, and they or their labels are not the same ones."
        )
    missing = [kind for kind in policy.slices if champion and kind not in challenger.slices]
    if missing and not faults:
        faults.append(f"{challenger.name} does not tell the images apart by {', '.join(missing)}.")
    if faults:
        return Verdict(False, tuple(faults))
    images = counted(challenger, champion, classes)
    found = _Findings()
    found.figures |= {"test_set": challenger.test_set, "images": len(images.truth)}
    found.figures |= {"left_out_as_trained_on": images.left_out, "chance": None}
    found.failed += _too_few(images, policy)
    if not found.failed:
        _against_chance(images, policy, found)
        _recall(images, policy, found)
        _limits(images, challenger, policy, found)
        if champion is None:
            found.passed.append("There is no champion yet, so nothing else to compare with.")
        else:
            _against_champion(images, champion, policy, found)
            _slices(images, champion, policy, found)
    return Verdict(not found.failed, tuple(found.failed or found.passed), found.figures)


def _too_few(images: Counted, policy: GatePolicy) -> list[str]:
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


def _against_chance(images: Counted, policy: GatePolicy, found: _Findings) -> None:
    resampled, _ = _resample(images, policy)
    value = _metric(images, images.challenger, policy)
    low, high = percentile_interval(resampled, policy.level)
    support = np.bincount(images.truth, minlength=len(images.classes))
    chance = 1 / len(images.classes) if policy.metric == "balanced_accuracy" else float(support.max() / support.sum())
    found.figures |= {"metric": policy.metric, "chance": chance, "value": value, "interval": [low, high]}
    sentence = (
        f"{METRIC_NAMES[policy.metric].capitalize()} {value:.3f}, {policy.level:.0%} interval {low:.3f} to {high:.3f}, "
        f"chance {chance:.3f}"
    )
    found.judge(low > chance, f"{sentence}: {'above chance' if low > chance else 'not surely above chance'}.")


def _recall(images: Counted, policy: GatePolicy, found: _Findings) -> None:
    recall = found.figures["recall"] = _recall_by_class(images, images.challenger)
    for name, share in recall.items():
        floor = policy.floor_of(name)
        if not share >= floor:
            found.failed.append(f"Recall of {name} is {share:.3f}, below the floor of {floor:.3f}.")
    if unknown := sorted(set(policy.recall_floors) - set(images.classes)):
        found.failed.append(f"A recall floor is set for {', '.join(unknown)}, which is no class of these images.")


def _limits(images: Counted, challenger: Scores, policy: GatePolicy, found: _Findings) -> None:
    error = calibration_error(images.score, images.challenger == images.truth)
    for name, unit, value, limit in (
        ("calibration error", "", error, policy.max_calibration_error),
        ("time for an image", " ms", challenger.milliseconds, policy.max_milliseconds),
        ("package", " MB", challenger.megabytes, policy.max_megabytes),
    ):
        found.figures[name.replace(" ", "_")] = value
        if limit is None:
            continue
        if value is None or not np.isfinite(value):
            found.failed.append(
                f"The {name} of {challenger.name} was not measured, and has a limit of {limit:g}{unit}."
            )
        elif value > limit:
            found.failed.append(f"The {name} is {value:.3g}{unit}, above the limit of {limit:g}{unit}.")


def _against_champion(images: Counted, champion: Scores, policy: GatePolicy, found: _Findings) -> None:
    assert images.champion is not None
    value, rival = _metric(images, images.challenger, policy), _metric(images, images.champion, policy)
    resampled, rival_resampled = _resample(images, policy)
    low, high = percentile_interval(resampled - rival_resampled, policy.level)
    found.figures |= {"champion_value": rival, "champion_recall": _recall_by_class(images, images.champion)}
    found.figures |= {"difference": value - rival, "difference_interval": [low, high]}
    if np.array_equal(images.challenger, images.champion):
        found.failed.append(f"{champion.name} says the same about every image: a tie keeps the champion.")
        return
    sentence = (
        f"Against {_inside(champion.name)} ({rival:.3f}), the difference is {value - rival:+.3f}, "
        f"{policy.level:.0%} interval {low:+.3f} to {high:+.3f}"
    )
    if policy.comparison == "superiority":
        good = low > policy.margin
        found.judge(good, f"{sentence}: a gain of more than {policy.margin:.3f} is {'' if good else 'not '}shown.")
    else:
        good = low >= -policy.margin
        found.judge(good, f"{sentence}: a loss of more than {policy.margin:.3f} is {'' if good else 'not '}excluded.")


def _inside(name: str) -> str:
    """A model's name as it stands within a sentence: "the champion, version 1"."""
    return f"{name[:1].lower()}{name[1:]}".removesuffix(",")


def _slices(images: Counted, champion: Scores, policy: GatePolicy, found: _Findings) -> None:
    """A slice fails where its loss of accuracy is above the margin and its interval lies wholly below zero."""
    judged, small = [], 0
    for kind in policy.slices:
        values, sizes = np.unique(images.slices[kind], return_counts=True)
        for value, size in zip(values.tolist(), sizes.tolist(), strict=True):
            if size < policy.slice_min_images:
                small += 1
                continue
            here = images.slices[kind] == value
            right = _accuracies(images, here, policy)
            low, high = percentile_interval(right[1], policy.level)
            judged.append({"slice": kind, "value": value, "images": size, "difference": right[0]})
            judged[-1]["interval"] = [low, high]
            if right[0] < -policy.slice_margin and high < 0:
                found.failed.append(
                    f"On the {size:,} images of {kind} {value} the accuracy falls by {-right[0]:.3f} against "
                    f"{_inside(champion.name)}, more than {policy.slice_margin:.3f}."
                )
    found.figures |= {"slices": judged, "slices_too_small": small}
    if judged:
        found.passed.append(f"None of {len(judged)} slices surely lost more than {policy.slice_margin:.3f}.")


def _accuracies(images: Counted, here: np.ndarray, policy: GatePolicy) -> tuple[float, np.ndarray]:
    """The difference of the accuracies on some images, and its resamples [rounds]."""
    assert images.champion is not None
    truth = images.truth[here]
    cells = (images.challenger[here] == truth) * 2 + (images.champion[here] == truth)
    groups = None if images.groups is None else images.groups[here]
    drawn = resampled_counts(cells, 4, groups, rounds=policy.rounds, seed=policy.seed)
    seen = np.bincount(cells, minlength=4)
    return float((seen[2] - seen[1]) / seen.sum()), (drawn[:, 2] - drawn[:, 1]) / drawn.sum(1)


def _metric(images: Counted, predicted: np.ndarray, policy: GatePolicy) -> float:
    if policy.metric == "accuracy":
        return float((predicted == images.truth).mean())
    return float(_recalls(images, predicted).mean())


def _recalls(images: Counted, predicted: np.ndarray) -> np.ndarray:
    """Recall of each class, float64[C]; a label outside the classes is a miss."""
    support = np.bincount(images.truth, minlength=len(images.classes))
    hits = np.bincount(images.truth[predicted == images.truth], minlength=len(images.classes))
    return hits / support


def _recall_by_class(images: Counted, predicted: np.ndarray) -> dict[str, float]:
    return dict(zip(images.classes, _recalls(images, predicted).tolist(), strict=True))


def _resample(images: Counted, policy: GatePolicy) -> tuple[np.ndarray, np.ndarray]:
    """The metric [rounds] of challenger and champion over the same resamples; without a champion, zeros for it.

    Both metrics need only how many images of each class were right. So an image's kind is its class and whether each
    model was right: four kinds a class, drawn together, which keeps the comparison paired.
    """
    kinds = len(images.classes)
    right = (images.challenger == images.truth).astype(np.int64)
    rival = np.zeros_like(right) if images.champion is None else (images.champion == images.truth).astype(np.int64)
    cells = images.truth * 4 + right * 2 + rival
    drawn = resampled_counts(cells, kinds * 4, images.groups, rounds=policy.rounds, seed=policy.seed)
    drawn = drawn.reshape(policy.rounds, kinds, 2, 2)
    support = drawn.sum((2, 3))
    hits = drawn[:, :, 1, :].sum(2), drawn[:, :, :, 1].sum(2)
    if policy.metric == "accuracy":
        return hits[0].sum(1) / support.sum(1), hits[1].sum(1) / support.sum(1)
    return mean_recall(hits[0], support), mean_recall(hits[1], support)
