"""Weights that were trained elsewhere: found, fetched, checked, and put into a network of the same layers.

Only arrays are taken from a file (HDF5, as keras.applications and ``save_weights`` write it). Nothing in it is run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import tempfile
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.errors import SourceError, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.sources.base import local_path, without_login
from darkroom.sources.download import Download
from darkroom.storage import Storage, open_storage

log = logging.getLogger(__name__)

IMAGENET, NONE = "imagenet", "none"
HOW = "docs/transfer.md says which files fit and how the config names one (`weights: <path or address>`)."
_HDF5 = b"\x89HDF\r\n\x1a\n"
_QUIET_SECONDS = 30.0  # a server that says nothing for so long is not waited for


@contextmanager
def fetched(lake: Storage, address: str, sha256: str | None = None, *, pause: float = 0.5) -> Iterator[Path]:
    """The file at an address, on this machine while the context lasts.

    ``address``: a path on the lake, an absolute path, file://, s3://, hdfs:// or http(s)://. With ``sha256`` its
    content is checked; what is fetched by HTTP is then kept in the home folder for the next time. ``pause``: seconds
    before the second try. Raises SourceError or StorageUnavailable that say how to give another file.
    """
    shown = without_login(address)
    kept = get_settings().home / "weights" / str(sha256)
    if sha256 is not None and kept.is_file() and _digest(kept) == sha256:
        yield kept
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        _fetch(lake, address, path, pause)
        digest = _digest(path)
        if sha256 is None:
            log.info("%s has the SHA-256 %s; the config can demand it.", shown, digest)
        elif sha256 != digest:
            raise SourceError(
                f"{shown} has the SHA-256 {digest}. Expected {sha256}: the file is damaged or another one. Correct the "
                f"checksum or the address. {HOW}"
            )
        elif _is_http(address):
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, f"{kept}.{os.getpid()}")
            os.replace(f"{kept}.{os.getpid()}", kept)
        yield path


def _fetch(lake: Storage, address: str, target: Path, pause: float) -> None:
    """Puts what is at the address into the file ``target``."""
    limit = get_settings().max_weights_bytes
    shown = without_login(address)
    try:
        if _is_http(address):
            download = Download(address, get_settings().home / "downloads", limit, pause=pause, setting=_SETTING)
            with download.file(log.info) as found:
                shutil.copyfile(found, target)
            return
        storage, path = _place(lake, address)
        blob = storage.stat(path)
        if blob is None:
            raise SourceError(f"There is no file {storage.uri(path)}.")
        if blob.size > limit:
            raise SourceError(
                f"{shown} has {blob.size:,} bytes. Expected at most {limit:,}. Trust it? Raise {_SETTING}."
            )
        storage.download(path, target)
    except StorageUnavailable as error:
        raise StorageUnavailable(f"{error.message} {HOW}") from error
    except SourceError as error:
        raise SourceError(f"{error.message} {HOW}") from error


_SETTING = "DARKROOM_MAX_WEIGHTS_BYTES"


def _place(lake: Storage, address: str) -> tuple[Storage, str]:
    if "://" not in address and not address.startswith(("/", "~")):
        return lake, address
    local = local_path(address)
    folder, _, name = (str(local) if local else address).rpartition("/")
    return open_storage(folder or "/"), name


def _is_http(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill(network: Any, path: Path, shown: str, name: str) -> None:
    """Puts the weights of a file into a keras.Model of the same layers, ``name`` telling people which.

    Raises SourceError for anything but an HDF5 file of just these layers' finite weights.
    """
    expected = f"Expected the weights of {name} in HDF5, {network.count_params():,} numbers."
    try:
        with path.open("rb") as stream:
            if stream.read(len(_HDF5)) != _HDF5:
                raise SourceError(f"{shown} is no HDF5 file. {expected} {HOW}")
        with tempfile.TemporaryDirectory() as folder:
            known = Path(folder) / ("found.h5" if _is_legacy(path) else "found.weights.h5")  # Keras goes by the name
            known.symlink_to(path.absolute())
            network.load_weights(str(known))
    except (ValueError, KeyError, OSError, AttributeError, IndexError, TypeError, RuntimeError) as error:  # h5py's too
        reason = " ".join(str(error).split())[:300]
        raise SourceError(f"{shown} does not fit or is damaged ({reason}). {expected} {HOW}") from error
    if not all(np.isfinite(one).all() for one in network.get_weights()):
        raise SourceError(f"{shown} holds numbers that are not finite. {expected} {HOW}")


def _is_legacy(path: Path) -> bool:
    """Whether the file is laid out as Keras 2 and keras.applications do it."""
    import h5py

    with h5py.File(path, "r") as file:
        return "layer_names" in file.attrs or "model_weights" in file


def from_imagenet(build: Callable[[], Any], name: str) -> Any:
    """What ``build`` gives while Keras may fetch a file for it; its errors as ours.

    Keras checks the file against the hash that it knows, and keeps it in ~/.keras (or KERAS_HOME).
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_QUIET_SECONDS)
    try:
        return build()
    except Exception as error:  # Keras raises plain ones
        cause = error.__context__ if isinstance(error.__context__, urllib.error.URLError) else error
        told = f"Keras' file for {name} could not be had ({' '.join(str(error).split())[:300]}). {HOW}"
        if (isinstance(cause, urllib.error.HTTPError) and cause.code < 500) or not isinstance(cause, OSError):
            raise SourceError(told) from error
        raise StorageUnavailable(told) from error
    finally:
        socket.setdefaulttimeout(before)
