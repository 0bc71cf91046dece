"""A real SIGKILL at any message between a writer and its server: what a client in Rust sends and gets is seen too."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from darkroom.storage import HdfsStorage, S3Storage, Storage
from tests.integration.proxy import Way, proxy


def killed_at_message(storage: Storage, number: int) -> tuple[Storage, Callable[[], object], Callable[[], object]]:
    """The storage by way of a process of its own, which kills this one at a message; calls to start and end counting.

    Message ``number`` (from 0) is a piece of a request or of an answer; it does not arrive. The way ends with this
    process. On S3 all requests pass by it, in HDFS those to the NameNode's RPC address, which Delta's commits use.
    """
    counts = mmap.mmap(-1, 1)
    address, alive = os.pipe(), os.pipe()
    if (writer := os.getpid()) and os.fork() == 0:
        os.close(alive[1])
        _serve(_server(storage), writer, number, counts, address[1], alive[0])
    os.close(alive[0])
    way = os.read(address[0], 64).decode()
    return _by(storage, way), partial(counts.__setitem__, 0, 1), partial(counts.__setitem__, 0, 0)


def _server(storage: Storage) -> str:
    if isinstance(storage, S3Storage):
        return urlsplit(storage.options.endpoint).netloc
    assert isinstance(storage, HdfsStorage)
    return urlsplit(storage.root).netloc


def _by(storage: Storage, way: str) -> Storage:
    if isinstance(storage, S3Storage):
        return S3Storage(storage.root, replace(storage.options, endpoint=f"http://{way}"))
    assert isinstance(storage, HdfsStorage)
    return HdfsStorage(f"hdfs://{way}{urlsplit(storage.root).path}", storage.http)


def _serve(server: str, writer: int, number: int, counts: mmap.mmap, told: int, alive: int) -> None:
    lock = threading.Lock()
    seen = 0

    def count(_: Way, data: bytes) -> bytes:
        nonlocal seen
        with lock:
            if counts[0]:
                if seen == number:
                    os.kill(writer, signal.SIGKILL)
                    os._exit(0)
                seen += 1
        return data

    with proxy(server, count, count) as address:
        os.write(told, address.encode())
        os.read(alive, 1)  # ends when the writer has
    os._exit(0)
