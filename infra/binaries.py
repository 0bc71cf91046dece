"""Server programs that are built from Go sources once and kept in the user's cache folder, for all checkouts."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.services import CannotRun

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
_BUILD_SECONDS = 1500
_WITHOUT_GO = (
    "needs Go 1.25 or newer to build {name}, once; none was found. On Debian or Ubuntu: apt-get install golang-go"
)


def cache_folder() -> Path:
    """Where what takes minutes to make or fetch is kept for all checkouts of this user; made when it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom"
    (cache / "bin").mkdir(parents=True, exist_ok=True)
    return cache


@contextmanager
def locked() -> Iterator[None]:
    """One builder at a time on this machine."""
    with (cache_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_program(name: str, package: str) -> Path:
    """Where the program of ``package`` (``path@version``) is or will be kept."""
    return _kept(name, package.rpartition("@")[2])


def go_binary(name: str, package: str) -> Path:
    """The program that ``go install`` makes of ``package``, built now when it is not there. Raises CannotRun."""
    return _built(name, package.rpartition("@")[2], package, None)


def go_build(name: str, source: Path, version: str) -> Path:
    """The program whose Go sources are in the folder ``source``, built now when it is not there. Raises CannotRun."""
    return _built(name, version, ".", source)


def check_go(name: str, package: str) -> None:
    """Raises CannotRun when the program must be built and there is no Go."""
    if not go_program(name, package).exists() and shutil.which("go") is None:
        raise CannotRun(_WITHOUT_GO.format(name=name))


def _kept(name: str, version: str) -> Path:
    return cache_folder() / "bin" / f"{name}-{version}"


def _built(name: str, version: str, package: str, source: Path | None) -> Path:
    target = _kept(name, version)
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise CannotRun(_WITHOUT_GO.format(name=name))
    with locked():
        if not target.exists():
            _build(package, source, target, name)
    return target


def _build(package: str, source: Path | None, target: Path, name: str) -> None:
    folder = target.parent / f".building-{os.getpid()}"
    environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-p=2 -buildvcs=false"}
    command = ["go", "install", "-ldflags=-s -w", package]
    try:
        done = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise CannotRun(f"could not build {name}: {last}. It takes Go 1.25 or newer and the Go proxy")
        os.replace(folder / name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
