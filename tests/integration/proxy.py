"""Ways to a server on which something happens: answers get lost, or the one who asks is killed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from darkroom.storage import StorageOptions


@dataclass
class Way:
    """One connection through a proxy: its two ends, and whether it ends with what is passed on next."""

    near: socket.socket
    far: socket.socket
    cut: bool = False

    def close(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


Pass = Callable[[Way, bytes], bytes]
"""What is passed on of the bytes that came on a connection."""


@contextmanager
def proxy(server: str, ask: Pass, answer: Pass) -> Iterator[str]:
    """The ``host:port`` of a proxy to ``server`` (``host:port``); all that is sent through it goes by the functions."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, _, port = server.rpartition(":")

    def passed(way: Way, source: socket.socket, target: socket.socket, change: Pass) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(change(way, data))
                if way.cut and source is way.far:
                    break
        way.close()

    def serve() -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            way = Way(near, socket.create_connection((host, int(port))))
            for one in ((way, near, way.far, ask), (way, way.far, near, answer)):
                threading.Thread(target=passed, args=one, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def losing_answers(
    options: StorageOptions, *, lost: int, asked: bytes = b"", method: bytes = b"", after: int = 0
) -> Iterator[tuple[StorageOptions, Callable[[], int]]]:
    """Options that lead through a proxy, and the count of answers lost so far.

    It passes requests on and cuts the first ``lost`` connections on which a request with the bytes ``asked`` (and
    ``method``) was sent, ``after`` that many bytes of the answer: the server has done what it was asked, and the
    client does not know.
    """
    left: dict[int, int] = {}  # bytes that a connection still passes on, by its id

    def ask(way: Way, data: bytes) -> bytes:
        head = data.partition(b"\r\n")[0]
        if asked in head and head.startswith(method) and len(left) < lost:
            left.setdefault(id(way), after)
        return data

    def answer(way: Way, data: bytes) -> bytes:
        if id(way) not in left:
            return data
        kept = data[: left[id(way)]]
        left[id(way)] -= len(kept)
        way.cut = len(kept) < len(data)
        return kept

    with proxy(urlsplit(options.endpoint).netloc, ask, answer) as address:
        yield replace(options, endpoint=f"http://{address}"), lambda: len(left)
