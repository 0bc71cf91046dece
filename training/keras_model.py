"""The networks that Keras trains, built from their options."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.config import CnnOptions

STATISTICS_IMAGES = 1024


def small_cnn(options: CnnOptions, shape: tuple[int, int, int], classes: int, seed: int) -> Any:
    """A keras.Model: uint8[N, H, W, C] -> (probabilities float32[N, classes], embedding float32[N, filters[-1]])."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    inputs = keras.Input(shape, dtype="uint8", name="pixels")
    # Each image by its own mean and spread: exposure differs between machines, structure does not.
    value = layers.Rescaling(1 / 255)(inputs)
    value = layers.GroupNormalization(groups=1, center=False, scale=False, epsilon=1e-3, name="standardise")(value)
    convolution_options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    for block, width in enumerate(options.filters):
        for convolution in range(options.convolutions):
            stride = options.first_stride if block == convolution == 0 else 1
            value = layers.Conv2D(width, 2 * stride + 1, stride, **convolution_options)(value)
            last = convolution == options.convolutions - 1
            if last and block < len(options.filters) - 1 and min(value.shape[1:3]) > 1:
                value = layers.MaxPooling2D(2)(value)  # before the normalisation, which then costs a quarter
            value = layers.BatchNormalization()(value)
            value = layers.ReLU()(value)
    embedding = layers.GlobalAveragePooling2D(name="embedding")(value)
    hidden = layers.Dropout(options.dropout, seed=seed)(embedding)
    probabilities = layers.Dense(classes, activation="softmax", name="probabilities")(hidden)
    return keras.Model(inputs, [probabilities, embedding], name="small_cnn")


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
