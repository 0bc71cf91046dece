"""Haralick's texture features (1973, doi 10.1109/TSMC.1973.4309314), by mahotas."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from darkroom.features.feature import Feature, to_gray, too_small

LIBRARIES = ("mahotas",)


class Options(Feature):
    """Coarse texture: which intensities stand side by side. Few values, that say nothing of places."""

    kind: Literal["haralick"] = "haralick"
    levels: Literal[16, 32, 64, 128, 256] = Field(64, description="Intensities that are told apart.")
    distances: tuple[int, ...] = Field((1, 2, 4), min_length=1, max_length=8, description="Between pairs. Pixels.")


def extract(pixels: np.ndarray, options: Options) -> np.ndarray:
    """float32[26 * distances]: mean and range over the four directions of 13 measures, for each distance."""
    from mahotas.features import haralick

    gray = to_gray(pixels)
    least = max(options.distances) + 1
    if min(options.distances) < 1 or min(gray.shape) < least:
        raise too_small(options, gray.shape, f"distances from 1 on, and at least {least} on each side")
    coarse = gray // np.uint8(256 // options.levels)
    found = [haralick(coarse, return_mean_ptp=True, distance=distance) for distance in options.distances]
    return np.concatenate(found).astype(np.float32)
