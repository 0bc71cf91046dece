"""Random changes of training images: a warp and a change of tone each, drawn in NumPy, applied in TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.config import AugmentationOptions


def random_changes(
    options: AugmentationOptions, count: int, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For each image a projective warp float32[count, 8] (output to input), and [count, 2]: contrast, brightness."""
    height, width = shape[:2]
    angle = np.deg2rad(rng.uniform(-options.rotation, options.rotation, count))
    scale = 1 / rng.uniform(1 - options.zoom, 1 + options.zoom, count)
    across = rng.uniform(-options.shift, options.shift, count) * width
    down = rng.uniform(-options.shift, options.shift, count) * height
    mirror = np.where(rng.random(count) < 0.5, -1.0, 1.0) if options.flip else np.ones(count)
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    warp = np.zeros((count, 8), dtype=np.float32)
    warp[:, 0], warp[:, 1] = cosine * mirror, -sine
    warp[:, 3], warp[:, 4] = sine * mirror, cosine
    warp[:, 2] = centre_x + across - warp[:, 0] * centre_x - warp[:, 1] * centre_y
    warp[:, 5] = centre_y + down - warp[:, 3] * centre_x - warp[:, 4] * centre_y
    contrast = rng.uniform(1 - options.contrast, 1 + options.contrast, count)
    brightness = rng.uniform(-options.brightness, options.brightness, count) * 255
    return warp, np.stack([contrast, brightness], axis=1).astype(np.float32)


def augment_batch(pixels: Any, warp: Any, tone: Any) -> Any:
    """uint8[N, H, W, C] changed as ``random_changes`` drew; edges are repeated outwards. Tensors in, tensor out."""
    import tensorflow as tf

    values = tf.cast(pixels, tf.float32)
    values = tf.raw_ops.ImageProjectiveTransformV3(
        images=values,
        transforms=warp,
        output_shape=tf.shape(pixels)[1:3],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
    contrast, brightness = tone[:, 0, None, None, None], tone[:, 1, None, None, None]
    values = (values - 127.5) * contrast + 127.5 + brightness
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)
