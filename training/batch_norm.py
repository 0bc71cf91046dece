"""The statistics of batch normalisation, set so that a network predicts as well as it was trained."""

from __future__ import annotations

from typing import Any

import numpy as np

STATISTICS_IMAGES = 1024


def settle_statistics(model: Any, pixels: np.ndarray, batch_size: int = 128) -> None:
    """Sets the statistics of batch normalisation to the plain mean over ``pixels``, for the weights as they are.

    The running averages that training leaves lag behind weights that still move, and know nothing of averaged ones;
    on some hundred images that makes a good network look bad (Izmailov et al. 2018, arXiv 1803.05407, section 3.2).
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = [layer.momentum for layer in layers]
    for number, start in enumerate(range(0, len(pixels), batch_size)):
        for layer in layers:
            layer.momentum = number / (number + 1)
        model(pixels[start : start + batch_size], training=True)
    for layer, value in zip(layers, momentum, strict=True):
        layer.momentum = value
