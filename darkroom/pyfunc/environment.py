"""Environments of models: built from a model's own requirements, once on a machine, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from darkroom.errors import MachineryError, ModelError
from darkroom.settings import get_settings

log = logging.getLogger(__name__)

BASIC = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
# What pip needs to find its index and its cache; a login in there is the index's own.
_PIP = ("HOME", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = tuple(name for word in ("http", "https", "no", "all") for name in (f"{word}_proxy", f"{word.upper()}_PROXY"))
_BUILD_SECONDS = 1800


def chosen(names: Iterable[str]) -> dict[str, str]:
    """Some variables of this process, where they are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def environment_python(requirements: str, python: str) -> Path:
    """The interpreter of the environment for these requirements (text of a requirements.txt); built where it is not.

    One process at a time builds; a build that was killed leaves nothing that counts. ``python``: major.minor of the
    model, which must be that of this process. Raises ModelError for another one, MachineryError where pip fails.
    """
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != mine:
        raise ModelError(
            f"The model was saved with Python {python}, and this machine's Darkroom runs on {mine}. Expected the same. "
            f"Save the model with Python {mine}, or run Darkroom on {python}."
        )
    key = hashlib.sha256(f"{sysconfig.get_platform()} {python}\n{requirements}".encode()).hexdigest()[:16]
    settings = get_settings()
    folder = (settings.environments or settings.home / "environments") / f"pyfunc-{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _build(folder, requirements)
    return folder / "bin" / "python"


def _build(folder: Path, requirements: str) -> None:
    for left in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a build that was killed
    # A folder for each attempt: pip may outlive whoever started it, and would write into the next one's.
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    partial.chmod(0o755)
    log.info("Building the environment %s; this takes a minute or more.", folder)
    _run([sys.executable, "-m", "venv", str(partial)], "no environment could be made (python -m venv)")
    (partial / "requirements.txt").write_text(requirements)
    # Not compiled: most modules are never imported.
    options = ["--quiet", "--no-input", "--no-compile", "--disable-pip-version-check"]
    pip = [str(partial / "bin" / "python"), "-m", "pip", "install", *options, "-r", str(partial / "requirements.txt")]
    _run(pip, "pip could not install its requirements.txt")
    partial.rename(folder)


def _run(command: list[str], what: str) -> None:
    pip = tuple(name for name in os.environ if name.startswith("PIP_"))
    with subprocess.Popen(
        command,
        env=chosen((*BASIC, *_PIP, *_PROXIES, *pip)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that the compilers that pip starts end with it
    ) as process:
        try:
            said = last_words(process.communicate(timeout=_BUILD_SECONDS)[0])
        except subprocess.TimeoutExpired as error:
            said = f"nothing more within {_BUILD_SECONDS:,} s, after {last_words(error.output or b'')}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise MachineryError(
            f"The environment of a model cannot be built on this machine: {what}. It said: {said}. Expected a Python "
            "with venv, and an index or a folder of wheels that has all of them (PIP_INDEX_URL, PIP_FIND_LINKS). "
            "docs/bring-your-own.md says what a machine needs."
        )


def last_words(output: bytes, lines: int = 6) -> str:
    """The last lines that a process printed, as one line."""
    told = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(told[-lines:])[-1500:] or "nothing"
