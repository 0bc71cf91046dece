"""Several processes that train one network together: each its share of every batch, with averaged gradients.

The workers are the tasks of a Spark barrier stage. They find each other through the barrier context, and then talk
over sockets: the first worker adds up what all send and answers each. As every worker applies the same average to the
same weights, the weights stay equal; it is the synchronous data parallelism of Chen et al. 2016 (arXiv 1604.00981)
without backup workers. DECISIONS.md says why TensorFlow's own strategy is not used.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

from darkroom.errors import MachineryError


@dataclass(frozen=True)
class Team:
    """One worker's view: its ``rank`` among ``size``. The first has a connection to every other, in order of rank."""

    rank: int = 0
    size: int = 1
    others: list[Connection] = field(default_factory=list)

    @property
    def leads(self) -> bool:
        """Whether this worker's model is the one that is kept."""
        return self.rank == 0

    def share(self, batch: np.ndarray) -> tuple[np.ndarray, float]:
        """This worker's images of a batch, and the factor for their weights that makes the average gradient the
        gradient of the whole batch."""
        mine = batch[self.rank :: self.size]
        return mine, len(mine) * self.size / len(batch)

    def average(self, values: np.ndarray) -> np.ndarray:
        """float32[N]: the mean over all workers of what each gives. Every worker gets the same bits."""
        if self.size == 1:
            return values
        try:
            return self._average(values)
        except (EOFError, OSError) as error:
            raise MachineryError(
                f"Worker {self.rank + 1} of {self.size} lost the others while they trained one network ({error!r}). "
                "Another worker has ended; its log says why. Nothing was kept of this training: run it again."
            ) from error

    def _average(self, values: np.ndarray) -> np.ndarray:
        if not self.leads:
            self.others[0].send_bytes(values.tobytes())
            return np.frombuffer(self.others[0].recv_bytes(), dtype=np.float32)
        total = values.astype(np.float32, copy=True)
        for other in self.others:
            total += np.frombuffer(other.recv_bytes(), dtype=np.float32)
        total /= np.float32(self.size)
        told = total.tobytes()
        for other in self.others:
            other.send_bytes(told)
        return total

    def as_the_first_says(self, value: bool) -> bool:
        """The first worker's value, to all."""
        if self.size == 1:
            return value
        mine = np.float32(self.size if value and self.leads else 0)
        return bool(self.average(np.array([mine], dtype=np.float32))[0] > 0)


ALONE = Team()


@contextmanager
def barrier_team() -> Iterator[Team]:
    """The team of the barrier stage that this process is a task of.

    The first worker listens on the address by which Spark knows it, and tells port and key through the driver. A
    worker that dies ends the others' connections: their task fails, and with it the stage.
    """
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    assert context is not None
    rank, hosts = context.partitionId(), [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
    connections: list[Connection] = []
    try:
        if rank == 0:
            key = secrets.token_bytes(32)
            with Listener((hosts[0], 0), backlog=len(hosts), authkey=key) as listener:
                context.allGather(f"{listener.address[1]} {key.hex()}")
                joined = {}
                for _ in hosts[1:]:
                    connection = listener.accept()
                    joined[int(connection.recv())] = connection
            connections = [joined[number] for number in sorted(joined)]
        else:
            port, told = context.allGather("")[0].split()
            connections = [Client((hosts[0], int(port)), authkey=bytes.fromhex(told))]
            connections[0].send(rank)
        yield Team(rank, len(hosts), connections)
    finally:
        for connection in connections:
            connection.close()


def averaging(optimizer: type, team: Team) -> type:
    """That class of Keras optimizers, with every gradient averaged over the team before it is clipped and applied."""
    if team.size == 1:
        return optimizer
    import tensorflow as tf

    class Averaging(optimizer):  # type: ignore[misc]  # any optimizer: its class is a value here
        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            flat = tf.concat([tf.reshape(gradient, [-1]) for gradient in grads], axis=0)
            mean = tf.numpy_function(team.average, [flat], tf.float32)
            mean.set_shape(flat.shape)
            parts = tf.split(mean, [int(np.prod(gradient.shape)) for gradient in grads])
            return super().apply(
                [tf.reshape(part, gradient.shape) for part, gradient in zip(parts, grads, strict=True)],
                trainable_variables,
            )

    return Averaging
