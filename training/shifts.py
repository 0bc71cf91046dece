"""Simulated shifts: images as another machine, another operator or another archive would have delivered them.

What is chosen on val alone is chosen on images like those of training. Val under these shifts tells how a model does
on others. Each is a fixed, moderate change that leaves the class what it is (the kinds of Hendrycks and Dietterich
2019, arXiv 1903.12261); none is taken from any dataset.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

LOOKS = 4000  # shifted images that a choice looks at, where there are fewer than so many images
Shift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _tones(change: Callable[[np.ndarray], np.ndarray]) -> Shift:
    """A change of tones, told for tones of 0..1."""
    table = np.clip(np.rint(change(np.arange(256) / 255) * 255), 0, 255).astype(np.uint8)
    return lambda image, rng: cv2.LUT(image, table)


def _framed(height: float, width: float) -> Shift:
    """The middle of an image, cut to these shares of its sides; a share above 1 puts black around it."""

    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = image.shape[:2]
        warp = np.array([[width, 0, (1 - width) * (columns - 1) / 2], [0, height, (1 - height) * (rows - 1) / 2]])
        return cv2.warpAffine(image, warp, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    return change


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.standard_normal(image.shape, np.float32) * np.float32(0.04 * 255)
    return np.clip(np.rint(image + drawn), 0, 255).astype(np.uint8)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 128)


def _jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)


SHIFTS: dict[str, Shift] = {
    "darker": _tones(lambda tone: 0.65 * tone),
    "brighter": _tones(lambda tone: 0.7 * tone + 0.3),
    "less contrast": _tones(lambda tone: 0.55 * (tone - 0.5) + 0.5),
    "more contrast": _tones(lambda tone: 1.5 * (tone - 0.5) + 0.5),
    "dark middle": _tones(lambda tone: tone**1.6),
    "bright middle": _tones(lambda tone: tone**0.65),
    "closer": _framed(0.85, 0.85),
    "farther": _framed(1.15, 1.15),
    "narrower": _framed(0.85, 1.0),
    "wider": _framed(1.0, 0.85),
    "noise": _noise,
    "blur": _blur,
    "strong compression": _jpeg,
}


def shifted(pixels: np.ndarray, start: int = 0) -> np.ndarray:
    """uint8[N, H, W, C], each image under one of SHIFTS, in turn from number ``start``; the same for equal input."""
    changes = list(SHIFTS.values())
    found = np.empty_like(pixels)
    for number, image in enumerate(pixels):
        rng = np.random.default_rng([0, start, number])
        found[number] = changes[(start + number) % len(changes)](image, rng).reshape(image.shape)
    return found


def rounds_of(images: int) -> int:
    """How many shifts each of so many images is looked at under: all where there are few images, else one or more."""
    return max(1, min(len(SHIFTS), LOOKS // max(images, 1)))
