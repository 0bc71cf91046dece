"""The phantoms as a source like any other."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from darkroom.contract import stable_hash
from darkroom.sources import phantom, phantom_render
from darkroom.sources.base import Entry, OpenedSource, Progress
from darkroom.sources.config import PhantomSource


class PhantomReader:
    """Draws the files while they are stored."""

    def __init__(self, config: PhantomSource) -> None:
        self._config = config
        self.name = f"The synthetic phantoms (seed {config.seed})"

    def quick_fingerprint(self) -> str | None:
        return _fingerprint(self._config)

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[OpenedSource]:
        progress(f"{self.name}: {self._config.images:,} files are drawn. They show no patient.")
        yield _Phantoms(self._config)


class _Phantoms:
    concurrent = True

    def __init__(self, config: PhantomSource) -> None:
        self._config = config
        self.fingerprints: tuple[str, ...] = (_fingerprint(config),)
        self.left_out: Counter[str] = Counter()

    def entries(self) -> Iterator[Entry]:
        for planned in phantom.phantom_plan(self._config):
            yield Entry(planned.path, partial(_drawn, self._config, planned))


@contextmanager
def _drawn(config: PhantomSource, planned: phantom.Planned) -> Iterator[BinaryIO]:
    yield io.BytesIO(phantom.draw(config, planned))


def _fingerprint(config: PhantomSource) -> str:
    """Changes with the options, the code that draws, and the libraries under it."""
    code = [Path(module.__file__).read_text() for module in (phantom, phantom_render) if module.__file__]
    return stable_hash(["phantom", config.model_dump(mode="json"), code, cv2.__version__, np.__version__], 32)
