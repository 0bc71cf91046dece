"""Histograms of oriented gradients (Dalal and Triggs 2005, doi 10.1109/CVPR.2005.177), by scikit-image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, at_least, to_gray, too_small

LIBRARIES = ("skimage",)
_CELLS = 8  # along the shorter side


class Options(Feature):
    """Shapes: which way edges run in each cell of a grid. The first choice for most images."""

    kind: Literal["hog"] = "hog"
    cell: int | None = Field(None, ge=2, le=512, description="Side of a cell. Empty: an 8th of the shorter side.")
    block: int = Field(2, ge=1, le=8, description="Cells along a side of the blocks that are normalised together.")
    orientations: int = Field(9, ge=2, le=36, description="Directions that are told apart, of half a turn.")
    least_side: int = Field(64, ge=1, le=1024, description="Smaller images are enlarged first. Pixels.")
    sqrt: bool = Field(True, description="Take the square root of intensities first: shadows count less.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[blocks down * blocks across * block * block * orientations] of the luma."""
    from skimage.feature import hog

    gray = at_least(to_gray(pixels), options.least_side)
    cell = options.cell or max(min(gray.shape) // _CELLS, 2)
    if min(gray.shape) < cell * options.block:
        raise too_small(options, pixels.shape, f"at least {cell * options.block} on each side")
    found: np.ndarray = hog(
        gray.astype(np.float32),
        orientations=options.orientations,
        pixels_per_cell=(cell, cell),
        cells_per_block=(options.block, options.block),
        block_norm="L2-Hys",
        transform_sqrt=options.sqrt,
    )
    return found.astype(np.float32, copy=False)
