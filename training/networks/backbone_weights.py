"""A backbone with the weights that a config names."""

from __future__ import annotations

from functools import partial
from typing import Any

from darkroom.storage import Storage
from training.networks.backbones import BACKBONES
from training.networks.weights import IMAGENET, fetched, fill, from_imagenet


def loaded(lake: Storage, config: Any, inputs: Any, classes: int | None = None) -> Any:
    """A keras.Model from ``inputs`` to feature maps, or to the scores of ``classes``; see Backbone.build.

    ``config`` has backbone, weights and weights_sha256. Raises SourceError or StorageUnavailable where the weights
    cannot be had or do not fit.
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
