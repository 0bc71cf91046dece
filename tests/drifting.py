"""Made-up measurements of images for the tests of drift: a reference, and days with and without a drift."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from darkroom.drift import Images, Projection, Reference, build_reference

CLASSES = ("NORMAL", "PNEUMONIA")
WIDTH = 96


def measured(count: int, seed: int, *, shift: float = 0.0, normal: float = 0.25) -> tuple[Images, np.ndarray]:
    """Images without features, and their raw embeddings; pairs of neighbours are alike, as of one patient."""
    rng = np.random.default_rng([7, seed])
    pair = rng.normal(size=((count + 1) // 2, 3)).repeat(2, axis=0)[:count]
    noise = rng.normal(size=(count, 3))
    bright, spread, size = ((pair + noise) / np.sqrt(2)).T
    numbers = np.column_stack(
        [
            *(120 + 20 * bright, 50 + 8 * spread, np.zeros(count), np.full(count, 255.0)),
            *(np.full(count, 224.0), np.full(count, 224.0), np.round(np.exp(9 + 0.3 * size))),
        ]
    )
    mixing = np.random.default_rng(99).normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
    raw = (pair[:, :1] + rng.normal(size=(count, WIDTH))) @ mixing + shift
    label = np.where(rng.random(count) < normal, *CLASSES)
    ids = [f"{seed:06}-{number:06}" for number in range(count)]
    score = rng.beta(5, 1, count).astype(np.float32)
    return Images(ids, numbers.astype(np.float32), np.full(count, "L"), label, score), raw


def reference_of(count: int = 400, seed: int = 0, **changes: Any) -> Reference:
    images, raw = measured(count, seed)
    images = replace(images, **changes)
    group = [f"patient {number // 2}" for number in range(count)]
    return build_reference(images, images.label.tolist(), group, CLASSES, "embedding", projection(), raw)


@lru_cache(maxsize=1)
def projection() -> Projection:
    """Fitted to images of its own, as to those that a model was trained on."""
    return Projection.fit(measured(800, 999_999)[1])


def day_of(reference: Reference, seed: int, count: int = 200, **drift: Any) -> Images:
    images, raw = measured(count, 1000 + seed, **drift)
    return replace(images, features=reference.projection.apply(raw))


def brighter(images: Images, by: float) -> Images:
    numbers = images.numbers.copy()
    numbers[:, 0] += by
    return replace(images, numbers=numbers)
