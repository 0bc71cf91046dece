"""The pixels themselves as values from 0 to 1, made smaller first where the options say so."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, to_gray
from darkroom.transform import resize_area

LIBRARIES = ("cv2",)


class Options(Feature):
    """Raw pixels, row by row, the channels of a pixel side by side."""

    kind: Literal["pixels"] = "pixels"
    side: int | None = Field(None, ge=1, le=1024, description="Resized to side x side pixels. Empty: as they come.")
    gray: bool = Field(False, description="The luma alone, also of colour images.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[side * side * channels]."""
    if options.gray:
        pixels = to_gray(pixels)
    if options.side is not None:
        pixels = resize_area(pixels, options.side, options.side)
    return pixels.ravel().astype(np.float32) / np.float32(255)
