"""The images that a model got wrong while it was most sure, as small pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.comparing.measured import Answered
from training.data import Examples

MOST = 24
SIDE = 128  # pixels of a picture's longer side, at most


@dataclass(frozen=True)
class Mistake:
    """One image: what it is, what the model said and how sure it was; the picture is what the model saw."""

    content_id: str
    path: str
    truth: str
    said: str
    score: float
    picture: bytes

    @property
    def caption(self) -> str:
        return f"{self.said} {self.score:.3f}, is {self.truth}. {self.path.rpartition('/')[2] or self.content_id[:12]}"


def worst_mistakes(answers: Answered, examples: Examples, paths: Sequence[str], most: int = MOST) -> list[Mistake]:
    """The wrongly classified images, the most confident first; ties in the order of content_id."""
    wrong = np.flatnonzero(answers.labels != examples.truth)
    chosen = wrong[np.argsort(-answers.scores[wrong], kind="stable")][:most]
    names, scores = answers.info.classes, answers.scores
    return [
        Mistake(
            examples.content_ids[row],
            paths[row],
            names[examples.truth[row]],
            names[answers.labels[row]],
            float(scores[row]),
            thumbnail(examples.pixels[row]),
        )
        for row in chosen.tolist()
    ]


def thumbnail(pixels: np.ndarray) -> bytes:
    """uint8[H, W, 1 or 3] as a JPEG of at most ``SIDE`` pixels a side, a small one as PNG. Equal in, equal out."""
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    out = io.BytesIO()
    if max(image.size) <= SIDE // 2:
        image.save(out, "PNG")
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(out, "JPEG", quality=85)
    return out.getvalue()
