"""The digest of Darkroom's own sources: what was computed by other code is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("darkroom", "spark_apps", "training")


def package_folder(package: str) -> Path:
    """Where a package's sources are, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"The package {package!r} is not importable, so its sources cannot be read. Install it.")
    return Path(next(iter(spec.submodule_search_locations)))


def digest_of(folders: Iterable[tuple[str, Path]]) -> str:
    """16 hex digits over the names and contents of every ``*.py`` below the (name, folder) pairs."""
    digest = hashlib.sha256()
    for name, folder in folders:
        for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """16 hex digits over the sources of darkroom, spark_apps and training; read once a process."""
    return digest_of((name, package_folder(name)) for name in PACKAGES)


def other_code(recorded: Mapping[str, Any]) -> str | None:
    """A sentence where a commit's metadata names other code than runs now; None where it is the same or not known."""
    written_by, now = recorded.get("code_digest"), code_digest()
    if written_by in (None, now):
        return None
    return f"the rows that were there were written by code {written_by}, now it is {now}."
