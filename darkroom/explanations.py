"""What in an image a model's answer rests on: activation maps where the network gives them, occlusion for the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GRID = 8  # places a side that are covered in turn
COVER = 2  # places a side that are covered at once


def activation_heat(maps: np.ndarray, label: int) -> np.ndarray:
    """float32[N, h, w] in 0..1: where an image speaks for the class, from maps float32[N, h, w, classes].

    What speaks for a class is what its map has above the mean of all classes' maps: adding the same to every class
    changes no probability. Negative parts are zero and each image's largest is 1, as in Grad-CAM (arXiv 1610.02391).
    """
    return _scaled(maps[..., label] - maps.mean(axis=-1))


def occlusion_heat(
    predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, label: int, grid: int = GRID
) -> np.ndarray:
    """float32[N, g, g] in 0..1: by how much the class's probability falls where a place is covered.

    Needs nothing of the model but ``predict`` (uint8[N, H, W, C] to float[N, classes]). A square of ``COVER`` places a
    side is set to the image's mean at each place in turn (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2); g is
    ``grid``, less for images of fewer pixels.
    """
    count, height, width = pixels.shape[:3]
    grid = max(1, min(grid, height, width))
    before = np.asarray(predict(pixels))[:, label]
    mean = np.rint(pixels.mean(axis=(1, 2))).astype(np.uint8)
    rows, columns = np.linspace(0, height, grid + 1).astype(int), np.linspace(0, width, grid + 1).astype(int)
    falls = np.zeros((count, grid, grid), np.float32)
    times = np.zeros((grid, grid), np.float32)
    last = max(1, grid - COVER + 1)
    for row in range(last):
        for column in range(last):
            down, across = slice(row, row + COVER), slice(column, column + COVER)
            covered = pixels.copy()
            top, bottom = rows[row], rows[min(row + COVER, grid)]
            left, right = columns[column], columns[min(column + COVER, grid)]
            covered[:, top:bottom, left:right] = mean[:, None, None]
            fall = before - np.asarray(predict(covered))[:, label]
            falls[:, down, across] += fall[:, None, None]
            times[down, across] += 1
    return _scaled(falls / times)


def _scaled(heat: np.ndarray) -> np.ndarray:
    heat = np.maximum(np.asarray(heat, np.float32), 0)
    most = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, most, out=np.zeros_like(heat), where=most > 0)


def overlay(pixels: np.ndarray, heat: np.ndarray, side: int) -> np.ndarray:
    """uint8[h, w, 3] RGB of at most ``side`` pixels a side: the image in gray, and over it the heat in orange.

    ``pixels`` uint8[H, W, 1 or 3]; ``heat`` float32[g, g] in 0..1.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    gray = pixels[..., 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    ground = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    warmth = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC), 0, 1)[..., None] * 0.65
    orange = np.array([255, 120, 0], np.float32)
    return np.rint(ground[..., None] * (1 - warmth) + orange * warmth).astype(np.uint8)
