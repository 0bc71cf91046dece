"""Transfer learning with Keras: a head on frozen features, then the top of the backbone at a lower rate."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from darkroom.errors import InvalidRequest
from training.backbones import BACKBONES
from training.data import Examples
from training.keras_engine import OnEpoch, fitted, train_network
from training.kinds import Fitted, Job
from training.kinds.transfer import Config, network
from training.network import NetworkConfig
from training.weights import IMAGENET, fetched, fill, from_imagenet

log = logging.getLogger(__name__)

FEATURES_BATCH = 64


def fit_top(job: Job) -> Fitted:
    """Two phases; the second counts only where it lowers the loss on val.

    The backbone's batch normalisation keeps the statistics and weights that it came with in both phases: some hundred
    images cannot replace ImageNet's (Keras' guide to transfer learning; Kornblith et al. 2019, arXiv 1805.08974).
    """
    config: Config = job.config
    train, val = job.examples("train"), job.examples("val")
    model = pretrained_network(job, train.pixels.shape[1:])
    backbone = BACKBONES[config.backbone]
    first = _first_to_move(model, config.fine_tuning.from_layer or backbone.top)
    _freeze_before(model, len(model.layers))
    log.info("The head is trained on the frozen features of %s.", config.backbone)
    if config.head.augmented:
        found = train_network(_head_config(config), lambda *_: model, train, val, job.seed, job.on_step)
    else:
        found = _train_head(job, model, train, val)
    _, history, best, seconds = found
    facts = {"head_best_epoch": best, "head_val_loss": history[best - 1]["val_loss"]}
    if config.fine_tuning.enabled:
        kept = model.get_weights()
        _freeze_before(model, first)
        log.info("Fine-tuning from the layer %s on, %d of %d.", model.layers[first].name, first + 1, len(model.layers))
        later = _numbered_from(len(history) + 1, job.on_step)
        _, more, best_tuned, more_seconds = train_network(config, lambda *_: model, train, val, job.seed, later)
        if more[best_tuned - 1]["val_loss"] < facts["head_val_loss"]:
            best = len(history) + best_tuned
        else:
            log.info("Fine-tuning did not lower the loss on val: the head alone is kept.")
            model.set_weights(kept)
        history, seconds = history + more, seconds + more_seconds
    return fitted(job, model, history, best, seconds, facts)


def pretrained_network(job: Job, shape: tuple[int, ...]) -> Any:
    """The network of the config with the backbone's weights in it, and a new head."""
    config: Config = job.config
    build = partial(network, config, shape, len(job.classes), job.seed)
    if config.weights == IMAGENET:
        return from_imagenet(partial(build, IMAGENET), f"{config.backbone} without its top layer")
    import keras

    model = build()
    with fetched(job.lake, config.weights, config.weights_sha256) as path:
        backbone = keras.Model(model.inputs[0], model.outputs[1])
        fill(backbone, path, config.weights, f"{config.backbone} without its top layer")
    return model


def features_of(model: Any, examples: Examples) -> Examples:
    """The examples with the network's features, float32[N, D], in the place of their pixels."""
    import keras

    backbone = keras.Model(model.inputs[0], model.outputs[1])
    parts = range(0, len(examples), FEATURES_BATCH)
    found = [backbone.predict_on_batch(examples.pixels[k : k + FEATURES_BATCH]) for k in parts]
    return replace(examples, pixels=np.concatenate(found).astype(np.float32))


def _train_head(job: Job, model: Any, train: Examples, val: Examples) -> tuple[Any, list[dict[str, float]], int, float]:
    """Trains the last layer of ``model`` on features that are computed once."""
    import keras

    def build(shape: tuple[int, ...], classes: int, seed: int) -> Any:
        inputs = keras.Input(shape)
        hidden = model.get_layer("head_dropout")(inputs)
        return keras.Model(inputs, [model.get_layer("probabilities")(hidden), hidden], name="head")

    parts = features_of(model, train), features_of(model, val)
    return train_network(_head_config(job.config), build, *parts, job.seed, job.on_step)


def _head_config(config: Config) -> NetworkConfig:
    options = {"learning_rate": config.head.learning_rate}
    changes: dict[str, Any] = {"epochs": config.head.epochs, "optimizer": config.optimizer.model_copy(update=options)}
    if not config.head.augmented:
        changes["augmentation"] = None
    return config.model_copy(update=changes)


def _first_to_move(model: Any, name: str) -> int:
    names = [layer.name for layer in model.layers]
    if name not in names:
        movable = ", ".join(layer.name for layer in model.layers if layer.trainable_weights)
        raise InvalidRequest(
            f"The backbone {model.name} has no layer {name!r}. Expected as from_layer one of: {movable}."
        )
    return names.index(name)


def _freeze_before(model: Any, first: int) -> None:
    """Layers from ``first`` on may move, batch normalisation and whatever comes before may not; the head always may."""
    import keras

    for position, layer in enumerate(model.layers):
        frozen = position < first or isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name == "probabilities" or not frozen


def _numbered_from(first: int, on_step: OnEpoch) -> OnEpoch:
    def tell(step: int, values: Mapping[str, float]) -> None:
        on_step(first - 1 + step, values)

    return tell
