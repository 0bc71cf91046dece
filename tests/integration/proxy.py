"""A way to a server on which answers get lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from darkroom.storage import StorageOptions


class _Way:
    """One connection through the proxy. Cut once the client has asked for what answers are lost of."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.cut = False

    def close(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def losing_answers(
    options: StorageOptions, *, lost: int, asked: bytes = b"", method: bytes = b"", after: int = 0
) -> Iterator[tuple[StorageOptions, Callable[[], int]]]:
    """Options that lead through a proxy, and the count of answers lost so far.

    It passes requests on and cuts the first ``lost`` connections on which a request with the bytes ``asked`` (and
    ``method``) was sent, ``after`` that many bytes of the answer: the server has done what it was asked, and the
    client does not know.
    """
    server = urlsplit(options.endpoint)
    listener = socket.create_server(("127.0.0.1", 0))
    gone: list[int] = []

    def ask(way: _Way) -> None:
        with suppress(OSError):
            while data := way.near.recv(1 << 20):
                head = data.partition(b"\r\n")[0]
                if asked in head and head.startswith(method) and len(gone) < lost and not way.cut:
                    gone.append(1)
                    way.cut = True
                way.far.sendall(data)
        way.close()

    def answer(way: _Way) -> None:
        passed = 0
        with suppress(OSError):
            while data := way.far.recv(1 << 16):
                way.near.sendall(data[: max(0, after - passed)] if way.cut else data)
                passed += len(data)
                if way.cut and passed > after:
                    break
        way.close()

    def serve() -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            way = _Way(near, socket.create_connection((str(server.hostname), int(server.port or 0))))
            for work in (ask, answer):
                threading.Thread(target=work, args=(way,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield replace(options, endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}"), lambda: len(gone)
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
