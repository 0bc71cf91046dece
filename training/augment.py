"""Random changes of training images: a warp and a change of tone each, on uint8 pixels."""

from __future__ import annotations

import cv2
import numpy as np

from training.network import AugmentationOptions


def random_changes(
    options: AugmentationOptions, count: int, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For each image an affine warp float64[count, 2, 3] (output to input) and a table of tones uint8[count, 256]."""
    height, width = shape[:2]
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation, count))
    scale = 1 / rng.uniform(1 - options.zoom, 1 + options.zoom, count)
    across = rng.uniform(-options.shift, options.shift, count) * width
    down = rng.uniform(-options.shift, options.shift, count) * height
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if options.flip else np.ones(count)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    warp = np.empty((count, 2, 3))
    warp[:, 0, 0], warp[:, 0, 1] = cosine * mirror, -sine
    warp[:, 1, 0], warp[:, 1, 1] = sine * mirror, cosine
    warp[:, :, 2] = centre + np.stack([across, down], axis=1) - warp[:, :, :2] @ centre
    contrast = rng.uniform(1 - options.contrast, 1 + options.contrast, count)[:, None]
    brightness = rng.uniform(-options.brightness, options.brightness, count)[:, None] * 255
    tones = (np.arange(256) - 127.5) * contrast + 127.5 + brightness
    return warp, np.clip(np.rint(tones), 0, 255).astype(np.uint8)


def augment_batch(pixels: np.ndarray, warp: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """uint8[N, H, W, C] changed as ``random_changes`` drew, bilinear; edges are repeated outwards."""
    changed = np.empty_like(pixels)
    height, width = pixels.shape[1:3]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for number, image in enumerate(pixels):
        warped = cv2.warpAffine(image, warp[number], (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        changed[number] = tones[number][warped].reshape(image.shape)
    return changed
