"""Batch normalisation on CPUs: in one pass while training, with settled statistics afterwards."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

STATISTICS_IMAGES = 1024


def batch_normalization() -> Any:
    """A keras.layers.BatchNormalization that trains in one fused pass, as Keras 3 itself does not.

    The same statistics and gradients; a small residual network on CPUs trains up to twice as fast.
    """
    return _fused()()


@lru_cache(maxsize=1)
def _fused() -> Any:
    import keras
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if not training:
                return super().call(inputs, training=training, mask=mask)
            gamma, beta = (tf.cast(tf.convert_to_tensor(value), tf.float32) for value in (self.gamma, self.beta))
            output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=gamma,
                offset=beta,
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=self.epsilon,
                is_training=True,
            )
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return output

    return FusedBatchNormalization


def settle_statistics(model: Any, pixels: np.ndarray, batch_size: int = 128) -> None:
    """Sets the statistics of batch normalisation to the mean over all of ``pixels``, for the weights as they are.

    The running averages that training leaves lag behind weights that still move, and know nothing of averaged ones;
    on some hundred images that makes a good network look bad (Izmailov et al. 2018, arXiv 1803.05407, section 3.2).
    Frozen layers keep the statistics that they came with: their weights fit no others.
    """
    import keras

    layers = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization) and one.trainable]
    if not layers:
        return
    momentum = [layer.momentum for layer in layers]
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        for layer in layers:
            layer.momentum = start / (start + len(batch))
        model(batch, training=True)
    for layer, value in zip(layers, momentum, strict=True):
        layer.momentum = value
