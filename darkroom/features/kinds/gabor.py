"""Gabor filters (Manjunath and Ma 1996, doi 10.1109/34.531803): kernels of scikit-image, convolved by OpenCV."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, to_gray, too_small

LIBRARIES = ("cv2", "skimage")
_LEAST = 8  # pixels


class Options(Feature):
    """Texture of several scales and directions, and where in the image it is."""

    kind: Literal["gabor"] = "gabor"
    scales: int = Field(4, ge=1, le=8, description="Scales at most, each half as fine as the one before.")
    orientations: int = Field(6, ge=2, le=16, description="Directions of half a turn.")
    frequency: float = Field(0.25, gt=0.02, le=0.5, description="The finest scale's frequency. Waves a pixel.")
    grid: int = Field(4, ge=1, le=16, description="Cells along each side of the image.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[scales * orientations * grid * grid * 2]: logarithms of mean and standard deviation of the strength.

    A coarser scale is the same filters over an image of half the size. Scales end where that would be smaller than the
    grid, or than 8 pixels a side: at 32 pixels there are three.
    """
    image = to_gray(pixels).astype(np.float32) / np.float32(255)
    least = max(options.grid, _LEAST)
    if min(image.shape) < least:
        raise too_small(options, image.shape, f"at least {least} on each side")
    size = (options.grid, options.grid)
    found = []
    for scale in range(options.scales):
        if scale:
            if min(image.shape) < 2 * least:
                break
            image = cv2.pyrDown(image)
        for even, odd in kernels(options.frequency, options.orientations):
            real = cv2.filter2D(image, cv2.CV_32F, even, borderType=cv2.BORDER_REFLECT_101)
            imaginary = cv2.filter2D(image, cv2.CV_32F, odd, borderType=cv2.BORDER_REFLECT_101)
            power = real * real + imaginary * imaginary
            mean = cv2.resize(np.sqrt(power), size, interpolation=cv2.INTER_AREA)
            square = cv2.resize(power, size, interpolation=cv2.INTER_AREA)
            spread = np.sqrt(np.maximum(square - mean * mean, 0))
            found += [np.log(mean + _FLOOR).ravel(), np.log(spread + _FLOOR).ravel()]
    return np.concatenate(found).astype(np.float32, copy=False)


_FLOOR = np.float32(1e-3)  # of the range of intensities; below it all strengths are alike


@lru_cache(maxsize=16)
def kernels(frequency: float, orientations: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Even and odd float32 kernels without an answer to evenness, one pair a direction."""
    from skimage.filters import gabor_kernel

    pairs = []
    for number in range(orientations):
        kernel = gabor_kernel(frequency, theta=np.pi * number / orientations)
        even = kernel.real - kernel.real.mean()
        pairs.append((even.astype(np.float32), kernel.imag.astype(np.float32)))
    return tuple(pairs)
