"""Blobs by URI: a folder, an S3 object store, or HDFS. Everything that Darkroom keeps goes through here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from darkroom.errors import InvalidRequest
from darkroom.settings import get_settings
from darkroom.storage.base import Blob, Storage, StorageOptions
from darkroom.storage.folder import FolderStorage
from darkroom.storage.hdfs import HdfsStorage
from darkroom.storage.s3 import S3Storage

__all__ = [
    "Blob",
    "FolderStorage",
    "HdfsStorage",
    "S3Storage",
    "Storage",
    "StorageOptions",
    "open_lake",
    "open_storage",
]

_EXPECTED = "a folder, s3://bucket/prefix or hdfs://host:port/path"


def open_storage(root_uri: str, options: StorageOptions | None = None) -> Storage:
    """The storage at a folder path, a file:// URL, s3://bucket/prefix or hdfs://host:port/path.

    ``options`` are for an object store and default to the settings.
    Raises InvalidRequest for any other address.
    """
    if "://" not in root_uri:
        if not root_uri:
            raise InvalidRequest(f"The address of a storage is empty. Expected {_EXPECTED}.")
        return FolderStorage(Path(root_uri))
    parts = urlsplit(root_uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return S3Storage(root_uri, options)
    if parts.scheme == "hdfs":
        return HdfsStorage(root_uri)
    raise InvalidRequest(f"The address {root_uri!r} cannot be opened. Expected {_EXPECTED}.")


def open_lake() -> Storage:
    """The lake that the settings name."""
    return open_storage(get_settings().lake_uri)
