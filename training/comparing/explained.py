"""Why a model said what it said: a stated sample of its right, wrong and unsure answers on test, with heat maps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.explanations import activation_heat, occlusion_heat, overlay
from darkroom.model import Model
from training.data import Examples

EACH = 6
SIDE = 160  # pixels
SAMPLE = (
    f"Of each kind at most {EACH} images. Right: spread evenly from the surest to the least sure. Wrong: the surest. "
    "Unsure: the least sure of all others, right or wrong."
)
GRAD_CAM = "Grad-CAM: the part of each place in the score of the class that was said."
OCCLUSION = "Occlusion: by how much the probability of the class that was said falls where the place is covered."


@dataclass(frozen=True)
class Explanation:
    """One image with what spoke for the model's answer; ``group`` is right, wrong or unsure."""

    group: str
    content_id: str
    truth: str
    said: str
    score: float
    picture: bytes

    @property
    def caption(self) -> str:
        verdict = "right" if self.said == self.truth else f"is {self.truth}"
        return f"{self.said} {self.score:.3f}, {verdict}. {self.content_id[:12]}"


@dataclass(frozen=True)
class Explained:
    """The explanations of one model, and in words how their heat was made."""

    method: str
    images: Sequence[Explanation]


def explain(model: Model, examples: Examples, labels: np.ndarray, scores: np.ndarray, each: int = EACH) -> Explained:
    """Explanations of the sample that SAMPLE states. ``labels`` int[N] and ``scores`` float[N] are what was said."""
    names, found = model.classes, []
    for group, rows in sample(labels == examples.truth, scores, each).items():
        heat = _heat(model, examples.pixels[rows], labels[rows])
        for row, one in zip(rows.tolist(), heat, strict=True):
            truth, said = names[examples.truth[row]], names[labels[row]]
            picture = _png(overlay(examples.pixels[row], one, SIDE))
            found.append(Explanation(group, examples.content_ids[row], truth, said, float(scores[row]), picture))
    return Explained(GRAD_CAM if model.can_map else OCCLUSION, found)


def sample(right: np.ndarray, scores: np.ndarray, each: int) -> dict[str, np.ndarray]:
    """Positions of the images that are explained, by group, each in one group; ties in the order of the rows.

    ``right`` bool[N]; ``scores`` float[N], the probability of what was said.
    """
    surest = np.argsort(-scores, kind="stable")
    good = surest[right[surest]]
    spread = np.unique(np.linspace(0, max(len(good) - 1, 0), min(each, len(good))).round().astype(int))
    chosen = {"right": good[spread], "wrong": surest[~right[surest]][:each]}
    taken = np.concatenate(list(chosen.values()))
    chosen["unsure"] = surest[::-1][~np.isin(surest[::-1], taken)][:each]
    return {group: rows.astype(np.int64) for group, rows in chosen.items()}


def _heat(model: Model, pixels: np.ndarray, labels: np.ndarray) -> Sequence[np.ndarray]:
    heat: list[np.ndarray] = [np.zeros((1, 1), np.float32)] * len(pixels)
    for label in np.unique(labels).tolist():
        rows = np.flatnonzero(labels == label)
        if model.can_map:
            found = activation_heat(model.maps(pixels[rows]), label)
        else:
            found = occlusion_heat(model.predict, pixels[rows], label)
        for row, one in zip(rows.tolist(), found, strict=True):
            heat[row] = one
    return heat


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
