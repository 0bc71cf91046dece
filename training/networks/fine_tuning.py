"""Transfer learning with Keras: a head on frozen features, then the top of the backbone at a lower rate."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from darkroom.errors import InvalidRequest
from training.data import Examples
from training.kinds import Fitted, Job, later_epochs
from training.kinds.transfer import Config, network
from training.networks.backbone_weights import loaded
from training.networks.backbones import BACKBONES
from training.networks.keras_engine import OnEpoch, Trained, train_network
from training.networks.members import fit_members
from training.networks.options import NetworkConfig

log = logging.getLogger(__name__)

FEATURES_BATCH = 64
_HEAD = "scores"  # training.networks.layers.classifier names it


def fit_top(job: Job) -> Fitted:
    """Trains the head, then the top of the backbone; the second counts only where it lowers the loss on val.

    The backbone's batch normalisation keeps the statistics and weights that it came with in both phases: some hundred
    images cannot replace ImageNet's.
    """
    config: Config = job.config
    train, val = job.examples("train"), job.examples("val")
    start = pretrained_network(job, train.pixels.shape[1:])
    first = first_to_move(start, config)
    weights = start.get_weights()
    parts = (train, val) if config.head.augmented else (features_of(start, train), features_of(start, val))

    def train_one(seed: int, on_epoch: OnEpoch) -> Trained:
        log.info("The head is trained on the frozen features of %s.", config.backbone)
        if config.head.augmented:
            build = partial(_frozen, config, weights, len(start.layers))
            model, history, best, seconds = train_network(_head_config(config), build, *parts, seed, on_epoch, job.team)
        else:
            head, history, best, seconds = train_network(
                _head_config(config), partial(_head, config), *parts, seed, on_epoch, job.team
            )
            model = _frozen(config, weights, 0, train.pixels.shape[1:], len(train.classes), seed)
            model.get_layer(_HEAD).set_weights(head.get_layer(_HEAD).get_weights())
        if not config.fine_tuning.enabled:
            return model, history, best, seconds
        log.info("Fine-tuning from %s on, layer %d of %d.", start.layers[first].name, first + 1, len(start.layers))
        build = partial(_frozen, config, model.get_weights(), first)
        later = later_epochs(on_epoch, len(history))
        tuned, more, best_tuned, more_seconds = train_network(config, build, train, val, seed, later, job.team)
        if more[best_tuned - 1]["val_loss"] < history[best - 1]["val_loss"]:
            model, best = tuned, len(history) + best_tuned
        else:
            log.info("Fine-tuning did not lower the loss on val: the head alone is kept.")
        return model, history + more, best, seconds + more_seconds

    return fit_members(job, train_one, train, val)


def pretrained_network(job: Job, shape: tuple[int, ...]) -> Any:
    """The network of the config with the backbone's weights in it, and a new head."""
    return network(job.config, shape, len(job.classes), job.seed, partial(loaded, job.lake, job.config))


def features_of(model: Any, examples: Examples) -> Examples:
    """The examples with the network's embedding, float32[N, D], in the place of their pixels."""
    import keras

    backbone = keras.Model(model.inputs[0], model.outputs[1])
    parts = range(0, len(examples), FEATURES_BATCH)
    found = [backbone.predict_on_batch(examples.pixels[k : k + FEATURES_BATCH]) for k in parts]
    return replace(examples, pixels=np.concatenate(found).astype(np.float32))


def first_to_move(model: Any, config: Config) -> int:
    """The position of the layer from which fine-tuning goes. Raises InvalidRequest that names those there are."""
    names = [layer.name for layer in model.layers]
    name = config.fine_tuning.from_layer or BACKBONES[config.backbone].top
    if name not in names:
        movable = ", ".join(layer.name for layer in model.layers if layer.trainable_weights)
        raise InvalidRequest(
            f"The backbone {config.backbone} has no layer {name!r}. Expected as from_layer one of: {movable}."
        )
    return names.index(name)


def _frozen(
    config: Config, weights: list[np.ndarray], first: int, shape: tuple[int, ...], classes: int, seed: int
) -> Any:
    """The network with these weights, of which layers from ``first`` on and the head may move.

    Batch normalisation never does. That it is called without training would not be enough: in ``fit`` Keras 3 calls
    the layers of a functional model for training whatever they were called for when it was built.
    """
    import keras

    model = network(config, shape, classes, seed)
    model.set_weights(weights)
    for position, layer in enumerate(model.layers):
        still = position < first or isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name == _HEAD or not still
    return model


def _head(config: Config, shape: tuple[int, ...], classes: int, seed: int) -> Any:
    """The end of the network alone: float32[N, D] -> probabilities."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    features = keras.Input(shape)
    hidden = layers.Dropout(config.head.dropout, seed=seed)(features)
    return keras.Model(features, [layers.Softmax()(layers.Dense(classes, name=_HEAD)(hidden)), hidden])


def _head_config(config: Config) -> NetworkConfig:
    rate = {"learning_rate": config.head.learning_rate}
    changes: dict[str, Any] = {"epochs": config.head.epochs, "optimizer": config.optimizer.model_copy(update=rate)}
    if not config.head.augmented:
        changes |= {"augmentation": None, "precision": "float32"}
    return config.model_copy(update=changes)
