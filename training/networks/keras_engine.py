"""Trains a network with Keras from arrays of pixels, and hands it over as an ONNX graph."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.errors import DataError
from darkroom.metrics import balanced_accuracy, confusion
from training.data import Examples, equal_classes
from training.networks.augment import augment_batch, mixed, random_changes
from training.networks.batch_norm import STATISTICS_IMAGES, settle_statistics
from training.networks.options import AugmentationOptions, NetworkConfig
from training.networks.plain_graphs import with_plain_names, with_plain_shapes
from training.networks.team import ALONE, Team, averaging

log = logging.getLogger(__name__)

READ_AHEAD = 8  # batches
OnEpoch = Callable[[int, Mapping[str, float]], None]
Build = Callable[[tuple[int, ...], int, int], Any]
Trained = tuple[Any, list[dict[str, float]], int, float]
"""A keras.Model, the metrics of each epoch (1 ..), the epoch that was kept, and the seconds it took."""


def mean_of(members: Sequence[Any]) -> Any:
    """One keras.Model of several: the means of their probabilities and maps; their embeddings one after the other."""
    import keras
    from keras import layers

    inputs = keras.Input(members[0].inputs[0].shape[1:], dtype="uint8", name="pixels")
    probabilities, embeddings, maps = zip(*(member(inputs) for member in members), strict=True)
    return keras.Model(
        inputs, [layers.Average()(probabilities), layers.Concatenate()(embeddings), layers.Average()(maps)]
    )


def train_network(
    config: NetworkConfig,
    build: Build,
    train: Examples,
    val: Examples,
    seed: int,
    on_epoch: OnEpoch | None = None,
    team: Team = ALONE,
) -> Trained:
    """Fits a network to ``train`` and keeps the weights with the lowest loss on ``val``.

    ``build(shape, classes, seed)`` gives a keras.Model: uint8[N, H, W, C] -> (probabilities, embedding).
    Returns it trained, the metrics of each epoch (1 ..), the epoch that was kept, and the seconds it took.
    The loss on val weighs every class alike, as training does where classes are rebalanced. ``on_epoch`` receives
    the epoch's number (from 1) and its metrics. The same inputs and seed give the same weights on one machine.
    Each worker of a ``team`` calls this with the same arguments and gets the same weights.
    """
    import keras
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    shape, classes = train.pixels.shape[1:], len(train.classes)
    precision = _precision(config)
    with _policy(precision):
        model = build(shape, classes, seed)
    # What is measured and kept is the network in float32, as it predicts later.
    kept = build(shape, classes, seed) if precision != "float32" else model
    fast, exact = (keras.Model(network.inputs[0], network.outputs[0]) for network in (model, kept))
    shown = int(train.copies.sum())
    steps = max(1, round(shown / config.batch_size))
    epochs = config.epochs_for(shown)
    fast.compile(
        optimizer=_optimizer(config, steps * epochs, team),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.optimizer.label_smoothing),
        jit_compile=False,  # XLA is slower for small convolutions on CPUs
    )
    log.info(
        "%s: %s parameters, %s images an epoch in %s steps, %s in val, at most %s epochs, %s",
        *(config.name, f"{model.count_params():,}", f"{shown:,}", f"{steps:,}", f"{len(val):,}", epochs, precision),
    )
    # Val is measured, and weights are kept, with the running average swapped in.
    averaged = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if config.optimizer.averaging else []
    watcher = _watcher(config, exact, epochs, _some(train.pixels, seed), val, on_epoch, team)
    started = time.monotonic()
    fast.fit(
        training_dataset(config, train, seed, steps, team),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the dataset shuffles
        callbacks=[*averaged, watcher],
        verbose=0,
    )
    if not watcher.best_weights:
        raise DataError(
            f"{config.name}: the loss was not a finite number after the first epoch ({watcher.history[0]}). Expected "
            "one that falls. Lower the learning rate, or train in float32."
        )
    exact.set_weights(watcher.best_weights)
    seconds = time.monotonic() - started
    log.info("Kept epoch %s of %s after %.1f s", watcher.best_epoch, len(watcher.history), seconds)
    return kept, watcher.history, watcher.best_epoch, seconds


def _precision(config: NetworkConfig) -> str:
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if native_bfloat16() else "float32"


@lru_cache(maxsize=1)
def native_bfloat16() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 itself (AMX, or AVX-512 BF16); elsewhere they are slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


@contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Layers that are made here compute in that precision; their weights are float32 in any case."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def training_dataset(config: NetworkConfig, train: Examples, seed: int, steps: int, team: Team = ALONE) -> Any:
    """An endless tf.data.Dataset of (pixels, one-hot truth, weight) batches, augmented and read ahead.

    Each epoch shows every image ``copies`` times in a new order. A batch is one gather from one array and is
    augmented while the network trains on earlier ones.
    """
    import tensorflow as tf

    shape = train.pixels.shape[1:]
    one_hot = np.eye(len(train.classes), dtype=np.float32)
    weight = (train.weight / np.average(train.weight, weights=train.copies)).astype(np.float32)

    def batches() -> Iterator[tuple[np.ndarray, ...]]:
        rng = np.random.default_rng([seed, 1])
        own = rng if team.size == 1 else np.random.default_rng([seed, 1, team.rank])  # all draw the same order
        pool = np.repeat(np.arange(len(train)), train.copies)
        while True:
            order = rng.permutation(pool)
            for batch in np.array_split(order, steps):
                mine, factor = team.share(batch)
                shown = train.pixels[mine], one_hot[train.truth[mine]], factor * weight[mine]
                yield shown if config.augmentation is None else _changed(config.augmentation, *shown, own)

    signature = (
        tf.TensorSpec((None, *shape), train.pixels.dtype),
        tf.TensorSpec((None, len(train.classes)), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(READ_AHEAD)


def _changed(
    options: AugmentationOptions, pixels: np.ndarray, truth: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    changes = random_changes(options, len(pixels), pixels.shape[1:], rng)
    return mixed(augment_batch(pixels, changes), truth, weight, options.mixup, rng)


def _optimizer(config: NetworkConfig, total: int, team: Team) -> Any:
    import keras

    warmup = int(total * config.optimizer.warmup_share)
    peak = config.optimizer.learning_rate
    rate = keras.optimizers.schedules.CosineDecay(
        peak / 20 if warmup else peak,
        max(total - warmup, 1),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )
    options = {"weight_decay": config.optimizer.weight_decay, "clipnorm": 1.0}
    if config.optimizer.averaging:
        options |= {"use_ema": True, "ema_momentum": config.optimizer.averaging}
    optimizer = averaging(keras.optimizers.AdamW, team)(rate, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _some(pixels: np.ndarray, seed: int) -> np.ndarray:
    """At most STATISTICS_IMAGES of the images, drawn by the seed."""
    chosen = np.random.default_rng([seed, 2]).permutation(len(pixels))[:STATISTICS_IMAGES]
    return pixels[np.sort(chosen)]


def _watcher(
    config: NetworkConfig,
    exact: Any,
    epochs: int,
    seen: np.ndarray,
    val: Examples,
    on_epoch: OnEpoch | None,
    team: Team,
) -> Any:
    """The callback that measures val with the network ``exact``, tells the log, keeps the best weights and stops."""
    import keras

    val_weight = equal_classes(val.truth, len(val.classes))

    class Watcher(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.history: list[dict[str, float]] = []
            self.best_loss = np.inf
            self.best_epoch = 0
            self.best_weights: list[np.ndarray] = []
            self.started = self.epoch_started = time.monotonic()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch_started = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if exact is not self.model:
                exact.set_weights(self.model.get_weights())
            settle_statistics(exact, seen)
            probabilities = exact.predict(val.pixels, batch_size=256, verbose=0)
            chosen = np.clip(probabilities[np.arange(len(val)), val.truth], 1e-7, 1)
            loss = float(np.average(-np.log(chosen), weights=val_weight))
            matrix = confusion(val.truth, probabilities.argmax(1), len(val.classes))
            row = {
                "train_loss": float(logs["loss"]),
                "val_loss": loss,
                "val_balanced_accuracy": float(balanced_accuracy(matrix)),
                "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
                "seconds": time.monotonic() - self.epoch_started,
            }
            self.history.append(row)
            better = loss < self.best_loss - config.early_stopping.min_delta
            if better:
                self.best_loss, self.best_epoch, self.best_weights = loss, epoch + 1, exact.get_weights()
            self._tell(epoch + 1, row, better)
            if on_epoch:
                on_epoch(epoch + 1, row)
            if not np.isfinite(row["train_loss"]):
                log.info("The training loss is not finite any more: stopped.")
                self.model.stop_training = True
            elif epoch + 1 - max(self.best_epoch, config.early_stopping.start_epoch) >= config.early_stopping.patience:
                log.info("No better loss on val for %s epochs: stopped.", config.early_stopping.patience)
                self.model.stop_training = True
            elif config.max_seconds and time.monotonic() - self.started > config.max_seconds:
                log.info("The time for training (%.0f s) is over: stopped.", config.max_seconds)
                self.model.stop_training = True
            self.model.stop_training = team.as_the_first_says(self.model.stop_training)

        def _tell(self, epoch: int, row: Mapping[str, float], better: bool) -> None:
            left = (time.monotonic() - self.started) / epoch * (epochs - epoch)
            log.info(
                "epoch %*d/%d  loss %.3f  val loss %.3f%s  val balanced accuracy %.3f  %.1f s  at most %s left",
                *(len(str(epochs)), epoch, epochs, row["train_loss"], row["val_loss"]),
                *("*" if better else " ", row["val_balanced_accuracy"], row["seconds"], spoken(left)),
            )

    return Watcher()


def spoken(seconds: float) -> str:
    """A duration for a log line: "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def to_onnx(model: Any) -> bytes:
    """The network as an ONNX graph: uint8 pixels in; probabilities, embedding, activation maps out, in this order."""
    import keras
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        signature = [keras.InputSpec(shape=(None, *model.inputs[0].shape[1:]), dtype="uint8", name="pixels")]
        model.export(str(path), format="onnx", input_signature=signature, verbose=False)
        exported = onnx.load_model(path)
    with_plain_shapes(exported)
    return with_plain_names(exported)
