"""Where every network begins and ends: pixels to standardised values, features to probabilities."""

from __future__ import annotations

from typing import Any


def pixels_input(shape: tuple[int, ...]) -> Any:
    """The input uint8[N, H, W, C]."""
    import keras

    return keras.Input(shape, dtype="uint8", name="pixels")


def standardised(inputs: Any) -> Any:
    """Each image by its own mean and spread: exposure differs between machines, structure does not."""
    from keras import layers, ops

    # Of 0..255 as they are: ONNX Runtime takes longer to scale gray images, whose last axis has one value, than to
    # convolve them.
    options = {"groups": 1, "center": False, "scale": False, "epsilon": 1e-3 * 255**2, "dtype": "float32"}
    return layers.GroupNormalization(**options, name="standardise")(ops.cast(inputs, "float32"))


def classifier(inputs: Any, value: Any, classes: int, dropout: float, seed: int) -> Any:
    """A keras.Model: uint8[N, H, W, C] -> (probabilities float32[N, classes], embedding float32[N, D], maps).

    ``value`` are the last feature maps; their mean over the image is the embedding. ``maps`` float32[N, h, w, classes]
    are each place's part of each class's score, whose mean over the image is that score: with a mean before the last
    layer these are Grad-CAM's maps (Selvaraju et al. 2017, arXiv 1610.02391, appendix A), without a gradient.
    """
    import keras
    from keras import layers

    embedding = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(value)
    hidden = layers.Dropout(dropout, seed=seed, dtype="float32")(embedding)
    scores = layers.Dense(classes, dtype="float32", name="scores")
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(scores(hidden))
    return keras.Model(inputs, [probabilities, embedding, scores(value)])
