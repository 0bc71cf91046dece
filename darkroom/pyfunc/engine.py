"""How a package with a pyfunc model answers: allowed, checked, and asked in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darkroom.errors import ModelError
from darkroom.package import Package, unzipped
from darkroom.pyfunc.allowed import check_allowed
from darkroom.pyfunc.child import Child
from darkroom.pyfunc.environment import environment_python
from darkroom.pyfunc.folder import Described, folder_digest
from darkroom.settings import get_settings


class PyfuncEngine:
    """See darkroom.engines.Engine. The process starts with the first batch, and anew after an error."""

    outputs = 1

    def __init__(self, package: Package, threads: int) -> None:
        source = package.info.pyfunc
        if source is None:
            raise ModelError("A model package holds a pyfunc model but does not say which. Train it again.")
        check_allowed(source.uri, source.digest)
        self._files = unzipped(package.content)
        if (found := folder_digest(self._files)) != source.digest:
            raise ModelError(
                f"The pyfunc model in a package has the digest {found}. Expected {source.digest}, which the package "
                "names: it was changed. Train it again."
            )
        described = Described.of(self._files)
        described.check(package.info.input_shape, len(source.classes))
        self._python = environment_python(described.requirements, described.python)
        self._order = [source.classes.index(name) for name in package.info.classes]
        self._threads = threads
        self._child: Child | None = None

    def run(self, pixels: np.ndarray, outputs: Sequence[int]) -> list[np.ndarray]:
        if not len(pixels):
            return [np.zeros((0, len(self._order)), np.float32)]
        if self._child is None:
            self._child = Child(self._python, self._files, self._threads, get_settings().pyfunc_seconds)
        try:
            return [self._child.ask(pixels, len(self._order))[:, self._order]]
        except ModelError:
            self._child.end()
            self._child = None
            raise
