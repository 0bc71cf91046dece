"""A network as it was trained elsewhere, head included: it names what it was trained to name, and learns nothing.

``darkroom model install`` makes it the champion of a model, with all of its classes. In train_model it is compared with
what was trained here, where all classes of the dataset are among its own.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from darkroom.errors import InvalidRequest, SourceError
from darkroom.storage import Storage
from training.kinds import Fitted, Job
from training.networks.backbone_weights import BackboneConfig, loaded
from training.networks.backbones import BACKBONES
from training.networks.weights import HOW, IMAGENET, fetched, from_imagenet

log = logging.getLogger(__name__)

RUNS_IN: Literal["python", "spark"] = "python"
IMAGENET_CLASSES = 1000


class Config(BackboneConfig):
    """Which network, its weights, and the names of its classes."""

    kind: Literal["pretrained"] = "pretrained"
    backbone: str = Field(default="resnet50", description="One of training/networks/backbones.py.")
    classes: str = Field(
        default=IMAGENET,
        min_length=1,
        description="imagenet, or the address of a file that names the classes in the network's order.",
    )
    classes_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="What that file must have.")


def fit(job: Job) -> Fitted:
    """The network, answering with the dataset's classes alone. Raises InvalidRequest where it lacks one of them."""
    started = time.monotonic()
    names = class_names(job.lake, job.config)
    columns = [_column(names, label) for label in job.classes]
    graph = graph_of(job.lake, job.config, len(names), columns)
    return Fitted(graph, {"fit_seconds": time.monotonic() - started})


def ready(lake: Storage, config: Config) -> tuple[tuple[str, ...], bytes]:
    """The network with all of its classes: their names, sorted, and its graph."""
    names = class_names(lake, config)
    columns = sorted(range(len(names)), key=lambda k: names[k])
    return tuple(names[k] for k in columns), graph_of(lake, config, len(names), columns)


def class_names(lake: Storage, config: Config) -> list[str]:
    """The names of the network's classes in its order, distinct.

    A file of them is JSON as Keras keeps ImageNet's ({"0": ["n01440764", "tench"], ...}), whose names become
    n01440764_tench, since two of the thousand are a crane; or a name a line. Raises SourceError for anything else.
    """
    if config.classes == IMAGENET:
        return from_imagenet(_imagenet_names, "the names of ImageNet's classes")
    with fetched(lake, config.classes, config.classes_sha256) as path:
        return parsed_names(path.read_bytes(), config.classes)


def parsed_names(data: bytes, shown: str) -> list[str]:
    """What ``class_names`` says of a file."""
    try:
        text = data.decode()
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            names = ["_".join(found[str(k)]) for k in range(len(found))]
        else:
            names = [line.strip() for line in text.splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{shown} does not name classes ({error!r}). Expected a name a line. {HOW}") from error
    if len(names) < 2 or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:3]
        raise SourceError(f"{shown} names {len(names)} classes, {twice} twice. Expected two or more, each once. {HOW}")
    return names


def graph_of(lake: Storage, config: Config, classes: int, columns: Sequence[int]) -> bytes:
    """The network as an ONNX graph whose outputs are the softmax over some of its ``classes``, in that order."""
    from training.networks.keras_engine import to_onnx
    from training.networks.layers import pixels_input

    shape = config.transform.shape
    if config.weights != IMAGENET:
        return to_onnx(answering(loaded(lake, config, pixels_input(shape), classes), columns))
    if classes != IMAGENET_CLASSES:
        raise InvalidRequest(f"{config.classes} names {classes:,} classes. Expected 1,000 for the weights of ImageNet.")
    weights = loaded(lake, config, pixels_input((224, 224, 3)), classes).get_weights()  # Keras gives them at this size
    whole = BACKBONES[config.backbone].build(pixels_input(shape), classes=classes)
    whole.set_weights(weights)
    return to_onnx(answering(whole, columns))


def answering(whole: Any, columns: Sequence[int]) -> Any:
    """The network with probabilities over some of its classes instead of scores for all."""
    import keras
    from keras import layers, ops

    scores = whole.output
    if list(columns) != list(range(scores.shape[-1])):
        scores = ops.take(scores, np.array(columns), axis=1)
    return keras.Model(whole.inputs[0], layers.Softmax(name="probabilities")(scores))


def _imagenet_names() -> list[str]:
    """By Keras, which fetches its table once and checks its hash."""
    from keras.applications.imagenet_utils import decode_predictions

    best = decode_predictions(np.eye(IMAGENET_CLASSES, dtype=np.float32), top=1)
    return [f"{number}_{name}" for ((number, name, _),) in best]


def _column(names: Sequence[str], label: str) -> int:
    """The position of the class that a dataset's label means: its name, with or without its number, or the number."""
    wanted = label.strip().lower().replace(" ", "_")
    found = [k for k, name in enumerate(names) if wanted in {name.lower(), *name.lower().split("_", 1)}]
    if len(found) != 1:
        raise InvalidRequest(
            f"The pretrained network has {len(found)} classes {label!r}. Expected just one for each class of the "
            "dataset. Train a config of the kind transfer on it; or, to classify with the network's own classes, run "
            "`darkroom model install`."
        )
    return found[0]
