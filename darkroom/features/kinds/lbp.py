"""Local binary patterns (Ojala et al. 2002, doi 10.1109/TPAMI.2002.1017623), by scikit-image.

Counted in the cells of a grid (Ahonen et al. 2004, doi 10.1007/978-3-540-24670-1_36).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, to_gray, too_small

LIBRARIES = ("skimage",)


class Options(Feature):
    """Fine texture: how each pixel compares with those around it, whatever the brightness."""

    kind: Literal["lbp"] = "lbp"
    radius: int = Field(1, ge=1, le=32, description="Distance of the neighbours. Pixels.")
    points: int = Field(8, ge=4, le=16, description="Neighbours that a pixel is compared with.")
    rotation: bool = Field(False, description="Whether patterns that are turned count as the same.")
    grid: int = Field(4, ge=1, le=32, description="Cells along each side of the image, each with its own histogram.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[grid * grid * patterns]: the square roots of each pattern's share in a cell."""
    from skimage.feature import local_binary_pattern

    gray = to_gray(pixels)
    if min(gray.shape) < options.grid:
        raise too_small(options, gray.shape, f"at least {options.grid} on each side")
    method = "uniform" if options.rotation else "nri_uniform"
    codes = local_binary_pattern(gray, options.points, options.radius, method).astype(np.intp)
    patterns = options.points + 2 if options.rotation else options.points * (options.points - 1) + 3
    down, across = (np.arange(side) * options.grid // side for side in gray.shape)
    cells = down[:, None] * options.grid + across
    counts = np.bincount((cells * patterns + codes).ravel(), minlength=options.grid**2 * patterns)
    shares = counts.reshape(-1, patterns) / counts.reshape(-1, patterns).sum(axis=1, keepdims=True)
    return np.sqrt(shares).ravel().astype(np.float32)
