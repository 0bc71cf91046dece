"""How often each colour occurs, by OpenCV."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, too_small

LIBRARIES = ("cv2",)


class Options(Feature):
    """Hue, saturation and value counted together; of gray images the intensity alone."""

    kind: Literal["color_histogram"] = "color_histogram"
    hues: int = Field(8, ge=2, le=180, description="Bins of the hue.")
    saturations: int = Field(4, ge=1, le=256, description="Bins of the saturation.")
    values: int = Field(4, ge=1, le=256, description="Bins of the value.")
    grays: int = Field(32, ge=2, le=256, description="Bins of the intensity of gray images.")
    grid: int = Field(2, ge=1, le=16, description="Cells along each side of the image, each with its own histogram.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[grid * grid * bins]: the square roots of each bin's share in a cell."""
    height, width, channels = pixels.shape
    if min(height, width) < options.grid:
        raise too_small(options, pixels.shape, f"at least {options.grid} on each side")
    if channels == 1:
        image, bins, ranges = pixels, [options.grays], [0, 256]
    else:
        image = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        bins, ranges = [options.hues, options.saturations, options.values], [0, 180, 0, 256, 0, 256]
    found = []
    for down in range(options.grid):
        rows = image[height * down // options.grid : height * (down + 1) // options.grid]
        for across in range(options.grid):
            cell = rows[:, width * across // options.grid : width * (across + 1) // options.grid]
            counts = cv2.calcHist([np.ascontiguousarray(cell)], list(range(channels)), None, bins, ranges)
            found.append(np.sqrt(counts.ravel() / counts.sum()))
    return np.concatenate(found).astype(np.float32, copy=False)
