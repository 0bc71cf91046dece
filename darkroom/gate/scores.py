"""What one model said about the test images, and what of it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from darkroom.contract import stable_hash


@dataclass(frozen=True)
class Scores:
    """What one model said about the test images.

    ``content_ids``, ``truth`` and ``predicted`` (labels) go together, one an image; ``score`` is the probability
    of the predicted label. ``groups`` name images that belong together (a patient). ``trained_on`` holds the
    content_ids of the model's train and val images. ``slices`` tell the images apart, one value an image for each
    kind of slice. ``milliseconds`` is the time for one image, ``megabytes`` the package's size. ``problem`` says why
    the model could not be scored.
    """

    name: str
    content_ids: Sequence[str]
    truth: Sequence[str]
    predicted: Sequence[str]
    score: Sequence[float]
    groups: Sequence[str] | None = None
    trained_on: frozenset[str] = frozenset()
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    milliseconds: float | None = None
    megabytes: float | None = None
    problem: str | None = None

    @staticmethod
    def unavailable(name: str, problem: str) -> Scores:
        return Scores(name, (), (), (), (), problem=problem)

    def faults(self) -> list[str]:
        """Why these predictions cannot be compared, a sentence each; none where they can."""
        if self.problem:
            return [f"{self.name} could not be scored: {self.problem}"]
        columns = [self.content_ids, self.truth, self.predicted, self.score, *self.slices.values()]
        sizes = {len(column) for column in columns}
        if self.groups is not None:
            sizes.add(len(self.groups))
        if len(sizes) != 1:
            return [f"{self.name} has columns of different lengths: {sorted(sizes)}."]
        faults = []
        if len(set(self.content_ids)) != len(self.content_ids):
            faults.append(f"{self.name} was scored on some images more than once.")
        broken = int((~np.isfinite(np.asarray(self.score, dtype=np.float64))).sum())
        if broken:
            faults.append(f"{self.name} gave no finite probability for {broken:,} images.")
        missing = sum(label is None for label in (*self.truth, *self.predicted))
        if missing:
            faults.append(f"{self.name} lacks {missing:,} labels.")
        return faults

    @property
    def test_set(self) -> str:
        """A hash of the images and their true labels, whatever their order."""
        return stable_hash(sorted([key, label] for key, label in zip(self.content_ids, self.truth, strict=True)))


@dataclass(frozen=True)
class Counted:
    """The images that count, in one order for both models; class indices, -1 where a label is unknown."""

    classes: list[str]
    truth: np.ndarray
    challenger: np.ndarray
    score: np.ndarray  # the challenger's, of its predicted label
    champion: np.ndarray | None
    groups: np.ndarray | None
    slices: dict[str, np.ndarray]
    left_out: int  # images that a model was trained on


def counted(challenger: Scores, champion: Scores | None, known: Sequence[str]) -> Counted:
    """The images that neither model was trained on. ``known`` are the challenger's classes."""
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
    return Counted(
        classes=classes,
        truth=np.array([index[challenger.truth[k]] for k in keep], dtype=np.int64),
        challenger=np.array([index[challenger.predicted[k]] for k in keep], dtype=np.int64),
        score=np.array([challenger.score[k] for k in keep], dtype=np.float64),
        champion=predicted,
        groups=None if groups is None else np.array([groups[k] for k in keep], dtype=object).astype(str),
        slices={
            kind: np.array([values[k] for k in keep], dtype=object).astype(str)
            for kind, values in challenger.slices.items()
        },
        left_out=len(challenger.content_ids) - len(keep),
    )
