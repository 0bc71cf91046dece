"""A small convolutional network on pixels, trained from scratch by Keras."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from pydantic import Field

from training.config import Options
from training.kinds import Fitted, Job
from training.networks.options import NetworkConfig

RUNS_IN: Literal["python", "spark"] = "python"


class CnnOptions(Options):
    """A small convolutional network: blocks of convolution, normalisation, ReLU and pooling, then a mean."""

    filters: tuple[int, ...] = Field(
        default=(16, 32, 64, 96), min_length=1, max_length=6, description="Channels of each block."
    )
    convolutions: int = Field(default=1, ge=1, le=3, description="Convolutions in a block.")
    first_stride: int = Field(
        default=2, ge=1, le=4, description="Stride of the first convolution, whose side is 2·stride+1."
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Share of the last features dropped in training.")


class Config(NetworkConfig):
    """Options of the network beside those of its training."""

    kind: Literal["small_cnn"] = "small_cnn"
    model: CnnOptions = CnnOptions()


def fit(job: Job) -> Fitted:
    """Trains the network on train and keeps the epoch with the lowest loss on val."""
    from training.networks.members import fit_network

    return fit_network(job, partial(network, job.config.model))


def network(options: CnnOptions, shape: tuple[int, ...], classes: int, seed: int) -> Any:
    """A keras.Model of uint8[N, H, W, C].

    Outputs: probabilities float32[N, classes], embedding float32[N, filters[-1]], maps float32[N, h, w, classes].
    """
    import keras
    from keras import layers

    from training.networks.batch_norm import batch_normalization
    from training.networks.layers import classifier, pixels_input, standardised

    keras.utils.set_random_seed(seed)
    inputs = pixels_input(shape)
    value = standardised(inputs)
    convolution_options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    for block, width in enumerate(options.filters):
        for convolution in range(options.convolutions):
            stride = options.first_stride if block == convolution == 0 else 1
            value = layers.Conv2D(width, 2 * stride + 1, stride, **convolution_options)(value)
            last = convolution == options.convolutions - 1
            if last and block < len(options.filters) - 1 and min(value.shape[1:3]) > 1:
                value = layers.MaxPooling2D(2)(value)  # before the normalisation, which then costs a quarter
            value = batch_normalization()(value)
            value = layers.ReLU()(value)
    return classifier(inputs, value, classes, options.dropout, seed)
