"""A backbone with weights that were trained elsewhere and a new head: the head first, then the backbone's top."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from pydantic import Field

from training.config import Options
from training.kinds import Fitted, Job
from training.networks.backbone_weights import BackboneConfig
from training.networks.backbones import BACKBONES
from training.networks.options import NetworkConfig, OptimizerOptions
from training.networks.weights import NONE

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"


class HeadOptions(Options):
    """What is put on the backbone's features, and how it is trained while the backbone is frozen."""

    dropout: float = Field(default=0.2, ge=0, lt=1, description="Share of the features dropped in training.")
    epochs: int = Field(default=60, ge=1, le=10_000, description="Of the head at most.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="Of the head.")
    augmented: bool = Field(
        default=False, description="Train on changed images too; otherwise each image's features are computed once."
    )


class FineTuning(Options):
    """Training of the backbone's top, with the rate of ``optimizer``, after the head is trained."""

    enabled: bool = Field(default=True, description="Otherwise the head alone is trained.")
    from_layer: str | None = Field(default=None, description="First layer that moves. Default: the backbone's own.")


class Config(BackboneConfig, NetworkConfig):
    """``optimizer``, ``augmentation``, ``epochs`` and ``batch_size`` are those of fine-tuning.

    With ``weights: none`` there is nothing to keep: they are those of training the whole network.
    """

    kind: Literal["transfer"] = "transfer"
    head: HeadOptions = HeadOptions()
    fine_tuning: FineTuning = FineTuning()
    optimizer: OptimizerOptions = OptimizerOptions(learning_rate=1e-4)
    epochs: int | None = Field(default=10, ge=1, le=10_000, description="Of fine-tuning at most.")


def fit(job: Job) -> Fitted:
    """Trains the head on frozen features, then the backbone's top; keeps what has the lower loss on val."""
    if job.config.weights == NONE:
        from training.networks.members import fit_network

        log.info("weights: none. Nothing is frozen: all of %s is trained from scratch.", job.config.backbone)
        return fit_network(job, partial(network, job.config))
    from training.networks.fine_tuning import fit_top

    return fit_top(job)


def network(
    config: Config, shape: tuple[int, ...], classes: int, seed: int, backbone: Callable[[Any], Any] | None = None
) -> Any:
    """A keras.Model: uint8[N, H, W, C] -> (probabilities float32[N, classes], embedding float32[N, D], maps).

    ``backbone``: makes a keras.Model from inputs to feature maps; None: the config's, with random weights.
    """
    import keras

    from training.networks.layers import classifier, pixels_input

    keras.utils.set_random_seed(seed)
    inputs = pixels_input(shape)
    maps = (backbone or BACKBONES[config.backbone].build)(inputs).output
    return classifier(inputs, maps, classes, config.head.dropout, seed)
