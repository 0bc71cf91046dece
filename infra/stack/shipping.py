"""What a Spark worker needs and a bare Python lacks: a packed environment and our code, made once and cached."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from darkroom.codedigest import PACKAGES, code_digest
from infra.local.environment import ROOT
from infra.local.services import CannotRun

LEFT_OUT = (
    "*/tests/*",
    "*/pyarrow/include/*",
    "*/pyarrow/src/*",
    "*/pyarrow/libarrow_flight*",
    "*/tensorflow/include/*",
)
KEPT = "*/mahotas/tests/*"  # mahotas imports its tests
WORKER_PYTHON = ROOT / "infra" / "stack" / "worker_python.sh"
# By the value of SPARK_PACKAGES, which chooses the image of Spark's containers too: what the workers can fit.
LOCKS = {
    "spark": ROOT / "infra" / "stack" / "worker.lock",
    "spark-training": ROOT / "infra" / "stack" / "worker-training.lock",
}


def shipped(packages: str) -> tuple[Path, Path]:
    """(packed environment, code): archives in the user's cache folder, named by what they hold; made when missing.

    ``packages`` is one of LOCKS.
    """
    lock_file = LOCKS[packages]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom" / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{hashlib.sha256(lock_file.read_bytes()).hexdigest()[:16]}-py{platform.python_version()}"
    # Not called .tar.gz: Spark would unpack it for every job, on the driver too.
    packed, code = folder / f"environment-{identity}.packed", folder / f"code-{code_digest()}.tar.gz"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not packed.exists():
            _pack_environment(packed, lock_file)
        if not code.exists():
            _pack_code(code)
    return packed, code


def _pack_environment(target: Path, lock_file: Path) -> None:
    """A fresh environment with just the worker's packages, of the hashes in the lock file, packed by venv-pack."""
    folder, partial = target.with_suffix(".building"), target.with_name(f".partial-{target.name}")
    shutil.rmtree(folder, ignore_errors=True)
    uv = str(Path(sys.executable).parent / "uv")
    python = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    try:
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        # Copies: venv-pack takes files, and the cache's are shared.
        _run([*python, "--link-mode", "copy", "--compile-bytecode", "--require-hashes", "-r", str(lock_file)])
        left_out = [part for pattern in LEFT_OUT for part in ("--exclude", pattern)]
        pack = [sys.executable, "-m", "venv_pack", "--quiet", "--force", "--compress-level", "1", *left_out]
        pack += ["--include", KEPT]
        _run([*pack, "--prefix", str(folder), "--format", "tar.gz", "--output", str(partial)])
        partial.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        partial.unlink(missing_ok=True)


def _pack_code(target: Path) -> None:
    partial = target.with_name(f".partial-{target.name}")
    with tarfile.open(partial, "w:gz") as archive:
        for package in PACKAGES:
            for path in sorted((ROOT / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.add(path, path.relative_to(ROOT).as_posix())
    partial.replace(target)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise CannotRun(f"the workers' environment could not be packed: {Path(command[0]).name} said: {said}")
