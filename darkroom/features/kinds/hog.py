"""Histograms of oriented gradients (Dalal and Triggs 2005, doi 10.1109/CVPR.2005.177), by scikit-image."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, to_gray, too_small

LIBRARIES = ("skimage",)
_CELLS = 8  # along the shorter side
_LEAST_CELL, _LEAST_CELLS = 8, 4  # cells smaller than 8 pixels say less than fewer cells do, down to 4 a side


class Options(Feature):
    """Shapes: which way edges run in each cell of a grid. The first choice for most images."""

    kind: Literal["hog"] = "hog"
    cell: int | None = Field(None, ge=2, le=512, description="Side of a cell. Pixels. Empty: by the image's size.")
    block: int = Field(2, ge=1, le=8, description="Cells along a side of the blocks that are normalised together.")
    orientations: int = Field(9, ge=2, le=36, description="Directions that are told apart, of half a turn.")
    sqrt: bool = Field(True, description="Take the square root of intensities first: shadows count less.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[blocks down * blocks across * block * block * orientations] of the luma.

    By default there are 8 cells along the shorter side, and from 4 to 8 of 8 pixels where it is less than 64 pixels.
    """
    from skimage.feature import hog

    shape = pixels.shape[:2]
    cell = options.cell or max(min(shape) // _CELLS, min(_LEAST_CELL, min(shape) // _LEAST_CELLS), 2)
    if min(shape) < cell * options.block:
        raise too_small(options, shape, f"at least {cell * options.block} on each side")
    found: np.ndarray = hog(
        to_gray(pixels).astype(np.float32),
        orientations=options.orientations,
        pixels_per_cell=(cell, cell),
        cells_per_block=(options.block, options.block),
        block_norm="L2-Hys",
        transform_sqrt=options.sqrt,
    )
    return found.astype(np.float32, copy=False)
