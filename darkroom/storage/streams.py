"""Streams between files and object stores."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import BinaryIO

_WINDOW = 4 << 20


class RangeReader(io.RawIOBase):
    """A seekable stream over a blob of ``size`` bytes that is fetched in ranges, some megabytes at a time."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._window = b""
        self._window_start = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"Cannot seek to {base + offset}: a stream starts at 0.")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        start = self._position - self._window_start
        if not 0 <= start < len(self._window):
            wanted = min(max(len(buffer), _WINDOW), self._size - self._position)
            if wanted <= 0 or not len(buffer):
                return 0
            self._window = self._fetch(self._position, wanted)
            self._window_start, start = self._position, 0
        piece = self._window[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


class Counted(io.RawIOBase):
    """Passes reads on and counts the bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.size += len(data)
        return data
