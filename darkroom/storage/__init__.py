"""Blobs by URI: a folder, or an S3 object store. Everything that Darkroom keeps goes through here."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from darkroom.errors import InvalidRequest
from darkroom.settings import get_settings
from darkroom.storage.base import Blob, Storage, StorageOptions
from darkroom.storage.folder import FolderStorage
from darkroom.storage.s3 import S3Storage

__all__ = ["Blob", "FolderStorage", "S3Storage", "Storage", "StorageOptions", "open_lake", "open_storage"]


def open_storage(root_uri: str, options: StorageOptions | None = None) -> Storage:
    """The storage at a folder path, a file:// URL or s3://bucket/prefix. ``options`` default to the settings.

    Raises InvalidRequest for any other address.
    """
    if "://" not in root_uri:
        if not root_uri:
            raise InvalidRequest("The address of a storage is empty. Expected a folder or s3://bucket/prefix.")
        return FolderStorage(Path(root_uri))
    parts = urlsplit(root_uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        return S3Storage(root_uri, options)
    raise InvalidRequest(f"The address {root_uri!r} cannot be opened. Expected a folder or s3://bucket/prefix.")


def open_lake() -> Storage:
    """The lake that the settings name."""
    return open_storage(get_settings().lake_uri)
