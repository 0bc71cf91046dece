"""The backbone of a config, and its weights."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from pydantic import Field, model_validator

from darkroom.storage import Storage
from training.config import TrainingConfig
from training.networks.backbones import BACKBONES, SMALLEST_SIDE
from training.networks.weights import IMAGENET, fetched, fill, from_imagenet


class BackboneConfig(TrainingConfig):
    """A model on a backbone with weights that were trained elsewhere."""

    backbone: str = Field(default="mobilenet_v2", description="One of training/networks/backbones.py.")
    weights: str = Field(
        default=IMAGENET,
        min_length=1,
        description="imagenet, an HDF5 file's address, or, where the kind trains all of the network, none.",
    )
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="What the file must have.")

    @model_validator(mode="after")
    def _known_and_large_enough(self) -> Self:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone: there is no {self.backbone!r}. Expected one of: {', '.join(BACKBONES)}")
        if min(self.transform.width, self.transform.height) < SMALLEST_SIDE:
            raise ValueError(f"a backbone takes images of {SMALLEST_SIDE} pixels a side or more. Enlarge the transform")
        return self


def loaded(lake: Storage, config: BackboneConfig, inputs: Any, classes: int | None = None) -> Any:
    """A keras.Model from ``inputs`` to feature maps, or to the scores of ``classes``; see Backbone.build.

    Raises SourceError or StorageUnavailable where the weights cannot be had or do not fit.
    """
    build = partial(BACKBONES[config.backbone].build, inputs, classes=classes)
    top = "without its top layer" if classes is None else f"with its top layer for {classes:,} classes"
    name = f"{config.backbone} {top}"
    if config.weights == IMAGENET:
        return from_imagenet(partial(build, weights=IMAGENET), name)
    with fetched(lake, config.weights, config.weights_sha256) as path:
        network = build()
        fill(network, path, config.weights, name)
    return network
