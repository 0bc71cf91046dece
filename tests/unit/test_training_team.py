"""One network trained by several workers: the same steps as one worker makes, and through the whole training."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from darkroom.errors import MachineryError
from darkroom.model import load_package
from tests.suites.training import World, world
from training import flow, tracking
from training.networks.team import ALONE, Team, averaging

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture

CNN = """
kind: small_cnn
model: {filters: [8, 16], first_stride: 1}
epochs: 2
batch_size: 16
where: spark
workers: 2
"""


@pytest.fixture
def pair() -> Iterator[list[Team]]:
    one, other = Pipe()
    yield [Team(0, 2, [one]), Team(1, 2, [other])]
    one.close()
    other.close()


def both(pair: list[Team], work: Any) -> list[Any]:
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, pair))


@pytest.mark.parametrize("images", [2, 7, 32])
def it_shares_a_batch_so_that_the_mean_of_shares_is_the_mean(pair: list[Team], images: int) -> None:
    losses = np.random.default_rng(0).random(images)

    def mean(team: Team) -> float:
        mine, factor = team.share(np.arange(images))
        return float(team.average(np.array([factor * losses[mine].mean()], np.float32))[0])

    assert both(pair, mean) == pytest.approx([losses.mean()] * 2)
    batch, factor = ALONE.share(np.arange(images))
    assert (batch.tolist(), factor) == (list(range(images)), 1)


def it_gives_every_worker_the_same_bits(pair: list[Team]) -> None:
    values = np.random.default_rng(1).normal(size=(2, 1000)).astype(np.float32)
    one, other = both(pair, lambda team: team.average(values[team.rank]))
    assert one.tobytes() == other.tobytes()
    np.testing.assert_allclose(one, values.mean(0), rtol=1e-6)


def it_says_that_the_others_are_gone(pair: list[Team]) -> None:
    pair[1].others[0].close()
    with pytest.raises(MachineryError, match="Worker 1 of 2 lost the others"):
        pair[0].average(np.zeros(3, np.float32))


def it_steps_as_one_worker_with_the_whole_batch(pair: list[Team]) -> None:
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(30, 1)).astype(np.float32)

    def trained(team: Team) -> list[np.ndarray]:
        weight, bias = keras.Variable(np.ones((5, 1), np.float32)), keras.Variable(np.zeros(1, np.float32))
        optimizer = averaging(keras.optimizers.AdamW, team)(0.1, clipnorm=1.0)
        optimizer.build([weight, bias])

        @tf.function
        def step(inputs: Any, targets: Any, factor: Any) -> None:
            with tf.GradientTape() as tape:
                loss = factor * tf.reduce_mean((inputs @ weight.value + bias.value - targets) ** 2)
            optimizer.apply(tape.gradient(loss, [weight.value, bias.value]), [weight, bias])

        for start in (0, 15):
            mine, factor = team.share(np.arange(start, start + 15))
            step(tf.constant(x[mine]), tf.constant(y[mine]), tf.constant(factor, tf.float32))
        return [np.array(weight), np.array(bias)]

    alone, (one, other) = trained(ALONE), both(pair, trained)
    for mine, its, whole in zip(one, other, alone, strict=True):
        assert mine.tobytes() == its.tobytes()
        np.testing.assert_allclose(mine, whole, rtol=1e-5)
        assert not np.allclose(mine, np.ones_like(mine))


def it_trains_a_config_in_a_barrier_stage(spark: Any, world: World) -> None:
    world.config("cnn", CNN)
    (task,) = world.plan("cnn")["configs"]
    assert task["runs_in"] == "spark"
    result = flow.train(world.lake, task)
    client = tracking.open_client()
    losses = client.get_metric_history(result["run_id"], "fit/val_loss")
    assert [point.step for point in losses] == [1, 2]
    assert losses[1].value < losses[0].value < 1
    assert client.get_run(result["run_id"]).info.status == "FINISHED"
    assert load_package(world.lake, result["package"]).info.config == "cnn"
    assert spark.range(2).count() == 2  # the session that was there goes on
