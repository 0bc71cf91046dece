"""Random changes of training images: a warp, a change of tone, blur, noise and erased squares, on uint8 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.networks.options import AugmentationOptions

ERASED = (0.15, 0.4)  # the side of an erased square, as a share of the image's


@dataclass(frozen=True)
class Changes:
    """What happens to each image of a batch.

    ``warp`` float64[N, 2, 3] affine, output to input; ``tones`` uint8[N, 256]; ``blur`` float64[N] sigmas in pixels, 0:
    none; ``noise`` float64[N] sigmas in tones; ``erased`` int64[N, 4] top, left, bottom, right; ``seeds`` of the noise.
    """

    warp: np.ndarray
    tones: np.ndarray
    blur: np.ndarray
    noise: np.ndarray
    erased: np.ndarray
    seeds: np.ndarray


def random_changes(
    options: AugmentationOptions, count: int, shape: tuple[int, ...], rng: np.random.Generator
) -> Changes:
    """Draws the changes of ``count`` images of that shape (height, width, channels)."""
    height, width = shape[:2]
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation, count))
    scale = 1 / rng.uniform(1 - options.zoom, 1 + options.zoom, count)
    # By whole pixels: what is shifted alone stays as sharp as it is at prediction.
    across = np.rint(rng.uniform(-options.shift, options.shift, count) * width)
    down = np.rint(rng.uniform(-options.shift, options.shift, count) * height)
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if options.flip else np.ones(count)
    stretch = np.exp(rng.uniform(-1, 1, count) * np.log1p(options.stretch) / 2)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    warp = np.empty((count, 2, 3))
    warp[:, 0, 0], warp[:, 0, 1] = cosine * mirror * stretch, -sine / stretch
    warp[:, 1, 0], warp[:, 1, 1] = sine * mirror * stretch, cosine / stretch
    warp[:, :, 2] = centre + np.stack([across, down], axis=1) - warp[:, :, :2] @ centre
    blurred = np.where(rng.random(count) < 0.5, rng.uniform(0, 1, count), 0) * options.blur
    noise = rng.uniform(0, options.noise, count) * 255
    return Changes(
        warp,
        _tones(options, count, rng),
        blurred,
        noise,
        _squares(options, count, shape, rng),
        rng.integers(0, 2**31, count),
    )


def _tones(options: AugmentationOptions, count: int, rng: np.random.Generator) -> np.ndarray:
    gamma = (1 - options.gamma) ** rng.uniform(-1, 1, count)[:, None]
    contrast = rng.uniform(1 - options.contrast, 1 + options.contrast, count)[:, None]
    brightness = rng.uniform(-options.brightness, options.brightness, count)[:, None] * 255
    tones = ((np.arange(256) / 255) ** gamma * 255 - 127.5) * contrast + 127.5 + brightness
    return np.clip(np.rint(tones), 0, 255).astype(np.uint8)


def _squares(options: AugmentationOptions, count: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    sides = np.array(shape[:2])
    size = np.rint(rng.uniform(*ERASED, count)[:, None] * sides).astype(np.int64)
    corner = np.floor(rng.random((count, 2)) * (sides - size + 1)).astype(np.int64)
    size[rng.random(count) >= options.erase] = 0
    return np.concatenate([corner, corner + size], axis=1)


def augment_batch(pixels: np.ndarray, changes: Changes) -> np.ndarray:
    """uint8[N, H, W, C] changed as ``random_changes`` drew, bilinear; edges are repeated outwards."""
    changed = np.empty_like(pixels)
    height, width = pixels.shape[1:3]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for number, image in enumerate(pixels):
        value = cv2.warpAffine(
            image, changes.warp[number], (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        if sigma := changes.blur[number]:
            value = cv2.GaussianBlur(value, (0, 0), sigma)
        value = cv2.LUT(value, changes.tones[number])
        if sigma := changes.noise[number]:
            drawn = np.random.default_rng(changes.seeds[number]).standard_normal(value.shape, np.float32)
            value = np.clip(np.rint(value + drawn * np.float32(sigma)), 0, 255).astype(np.uint8)
        value = value.reshape(image.shape)
        top, left, bottom, right = changes.erased[number]
        if bottom > top:
            value[top:bottom, left:right] = np.rint(value.mean(axis=(0, 1))).astype(np.uint8)
        changed[number] = value
    return changed


def mixed(
    pixels: np.ndarray, truth: np.ndarray, weight: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each image mixed with another of the batch (mixup: Zhang et al. 2018, arXiv 1710.09412).

    ``pixels`` uint8[N, H, W, C], ``truth`` float32[N, classes], ``weight`` float32[N]; ``strength`` is the parameter of
    the Beta distribution that shares are drawn from, 0: nothing is mixed. Returns the same, mixed.
    """
    if not strength or len(pixels) < 2:
        return pixels, truth, weight
    share = rng.beta(strength, strength, len(pixels)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    other = rng.permutation(len(pixels))
    one, two = share * weight, (1 - share) * weight[other]
    blended = np.empty_like(pixels)
    for number, partner in enumerate(other):
        cv2.addWeighted(
            pixels[number], float(share[number]), pixels[partner], float(1 - share[number]), 0, dst=blended[number]
        )
    total = one + two
    shares = (one / np.maximum(total, 1e-12))[:, None]
    return blended, shares * truth + (1 - shares) * truth[other], total
