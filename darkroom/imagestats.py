"""Measure an image file in one pass: what it is, its intensities, and what near duplicates are found by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from darkroom.decode import ImageFile, ImageProblem, shrink_factor
from darkroom.transform import resize_area

# Intensities are those of the luma shrunk by 1, 2, 4 or 8, the most that leaves the shorter side this long. Pixels.
# The scale that a transform to 64 x 64 decodes at, so that batch inference decodes once for both.
MEASURED_SIDE = 128
THUMBNAIL_SIDE = 32


@dataclass(frozen=True)
class Measurement:
    """What is known of one image file. Everything but ``problem`` is None where the file does not tell."""

    format: str | None = None  # JPEG, PNG, ...
    width: int | None = None  # pixels, after EXIF orientation
    height: int | None = None
    mode: str | None = None  # Pillow's mode of the stored image
    mean: float | None = None  # of the luma, 0..255, see MEASURED_SIDE
    std: float | None = None
    min: float | None = None
    max: float | None = None
    phash: str | None = None  # 16 hex digits
    thumbnail: np.ndarray | None = None  # uint8[32, 32], luma, aspect ratio ignored
    problem: str | None = None  # one of contract.PROBLEMS, then ": " and details


def measure(image: bytes | ImageFile) -> Measurement:
    """Measure an image file. Bad bytes are a Measurement with a problem, never an error."""
    image = image if isinstance(image, ImageFile) else ImageFile(image)
    try:
        header = image.header
    except ImageProblem as problem:
        return Measurement(problem=problem.message)
    width, height = header.oriented_size
    try:
        factor = shrink_factor(width, height, MEASURED_SIDE, MEASURED_SIDE)
        luma = image.pixels("gray", factor)
    except ImageProblem as problem:
        return Measurement(header.format, width, height, header.mode, problem=problem.message)
    height, width = luma.shape[:2] if factor == 1 else (height, width)
    # Formats without a scaled decode are shrunk here, so that the numbers mean the same for all of them.
    luma = resize_area(luma, -(-width // factor), -(-height // factor))
    thumbnail = resize_area(luma, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    count = np.bincount(luma.ravel(), minlength=256)
    mean, std = _mean_and_std(count)
    present = np.flatnonzero(count)
    return Measurement(
        header.format,
        width,
        height,
        header.mode,
        mean,
        std,
        float(present[0]),
        float(present[-1]),
        perceptual_hash(thumbnail),
        thumbnail,
    )


def _mean_and_std(count: np.ndarray) -> tuple[float, float]:
    """Of the levels 0..255, each ``count`` (int[256]) times. Sums are whole numbers: no library rounds them its way."""
    levels = np.arange(256)
    number, total = int(count.sum()), int((count * levels).sum())
    squares = int((count * levels * levels).sum())
    return total / number, ((number * squares - total * total) / number**2) ** 0.5


def perceptual_hash(thumbnail: np.ndarray) -> str:
    """The 64-bit DCT hash of uint8[32, 32], as 16 hex digits.

    The signs of the 8 x 8 lowest frequencies against their median, without the constant term (Zauner 2010,
    "Implementation and benchmarking of perceptual image hash functions", the DCT variant). Bit 0 is always 0.
    A flat image hashes to zeros.
    """
    basis = _dct_basis()
    frequencies = (basis @ thumbnail.astype(np.float64) @ basis.T).ravel()[1:]
    frequencies = np.round(frequencies, 6)  # what is not there must not be decided by rounding noise
    bits = np.concatenate([[False], frequencies > np.median(frequencies)])
    return np.packbits(bits).tobytes().hex()


@lru_cache(maxsize=1)
def _dct_basis() -> np.ndarray:
    """The first 8 rows of the orthonormal DCT-II of length 32."""
    k, n = np.mgrid[0:8, 0:THUMBNAIL_SIDE]
    basis: np.ndarray = np.cos(np.pi * (2 * n + 1) * k / (2 * THUMBNAIL_SIDE)) * np.sqrt(2 / THUMBNAIL_SIDE)
    basis[0] /= np.sqrt(2)
    return basis
