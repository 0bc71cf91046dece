"""A bag of visual words of SIFT descriptors (Lowe 2004; Csurka et al. 2004), by OpenCV and scikit-learn.

Descriptors are compared by the square roots of their shares (RootSIFT, Arandjelovic and Zisserman 2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from darkroom.errors import DataError
from darkroom.features.feature import Feature, Raws, at_least, to_gray

LIBRARIES = ("cv2",)
RAW = ("u1", 128)
FITTED = ("words", "sample")


class Options(Feature):
    """Local patterns around keypoints, wherever they are and however turned, counted by visual word."""

    kind: Literal["sift"] = "sift"
    keypoints: int = Field(512, ge=1, le=4096, description="The strongest of an image that are kept.")
    contrast: float = Field(0.02, ge=0, le=0.2, description="Keypoints with less contrast are left out.")
    least_side: int = Field(128, ge=1, le=1024, description="Smaller images are enlarged first. Pixels.")
    words: int = Field(512, ge=2, le=8192, description="Visual words: clusters of the training images' descriptors.")
    sample: int = Field(50_000, ge=100, le=5_000_000, description="Descriptors that the words are found from, at most.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """uint8[K, 128] descriptors of the strongest keypoints; K is 0 where there are none, as in a flat image."""
    gray = at_least(to_gray(pixels), options.least_side)
    points, found = _detector(options.contrast).detectAndCompute(np.ascontiguousarray(gray), None)
    if found is None:
        return np.empty((0, RAW[1]), np.uint8)
    keys = np.array([(-one.response, one.pt[0], one.pt[1], one.size, one.angle) for one in points])
    order = np.lexsort(keys.T[::-1])[: options.keypoints]
    return np.clip(np.rint(found[order]), 0, 255).astype(np.uint8)


def reason(raw: np.ndarray) -> str | None:
    return None if len(raw) else "no keypoint: the image is flat, or has no contrast"


def fit(raws: Raws, options: Options, seed: int) -> dict[str, np.ndarray]:
    """``words`` float32[words, 128]: cluster centres, the same for the same images, order and seed."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    counts = [len(raw) for raw in raws]
    if sum(counts) < options.words:
        raise DataError(
            f"The feature sift found {sum(counts):,} keypoints in {len(raws):,} training images. Expected at least as "
            f"many as words: {options.words:,}. Ask for fewer words, or choose another feature for these images."
        )
    chosen = np.arange(sum(counts))
    if len(chosen) > options.sample:
        chosen = np.sort(np.random.default_rng(seed).choice(len(chosen), options.sample, replace=False))
    starts = np.concatenate([[0], np.cumsum(counts)])
    image = np.searchsorted(starts, chosen, side="right") - 1
    sample = _rooted(np.stack([raws[i][k - starts[i]] for i, k in zip(image.tolist(), chosen.tolist(), strict=True)]))
    clusters = MiniBatchKMeans(
        options.words, random_state=seed, batch_size=4096, max_iter=20, n_init=1, max_no_improvement=None, tol=0.0
    )
    with threadpool_limits(1):  # sums in another order would give other words
        clusters.fit(sample)
    return {"words": clusters.cluster_centers_.astype(np.float32)}


def encode(raw: np.ndarray, options: Options, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32[words]: the square roots of each word's share of the descriptors; zeros where there are none."""
    words = arrays["words"]
    if not len(raw):
        return np.zeros(len(words), np.float32)
    distance = np.square(words).sum(axis=1) - 2 * (_rooted(raw) @ words.T)
    counts = np.bincount(distance.argmin(axis=1), minlength=len(words))
    return np.sqrt(counts / len(raw)).astype(np.float32)


def _rooted(descriptors: np.ndarray) -> np.ndarray:
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))


@lru_cache(maxsize=8)
def _detector(contrast: float) -> Any:
    return cv2.SIFT_create(nfeatures=0, contrastThreshold=contrast)
