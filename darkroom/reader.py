"""How the bytes of a dataset's images are read: one reader for the manifest, the examples, the EDA and the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from darkroom.errors import DataError
from darkroom.settings import get_settings
from darkroom.storage import HdfsStorage, Storage, StorageOptions, open_storage

_READERS = 8  # blobs of an object store that a process fetches at a time

Wanted = TypeVar("Wanted")
Found = TypeVar("Found")


class ImageReader:
    """Reads images by the addresses that tables hold: relative to the lake, or absolute for in-place sources.

    Picklable. At most one byte more than settings.max_image_bytes is read of a file, enough to see that it is too
    large.
    """

    def __init__(self, lake: Storage, options: StorageOptions | None = None) -> None:
        self.lake = lake
        self.options = options or StorageOptions.from_settings()
        self.hdfs_http = get_settings().hdfs_http  # workers may have other settings
        self._places: dict[str, Storage] = {}  # one connection pool for all images of a bucket

    def read(self, uri: str, content_id: str) -> bytes:
        """The bytes of one image. Raises DataError when they are gone, or are no longer those of ``content_id``."""
        limit = get_settings().max_image_bytes + 1
        try:
            if in_place(uri):
                place, path = _place(uri)
                data = self._storage(place).read(path, limit=limit)
            else:
                data = self.lake.read(uri, limit=limit)
        except FileNotFoundError:
            raise DataError(
                f"The image {uri if in_place(uri) else self.lake.uri(uri)} is gone since the dataset was downloaded. "
                "Put it back, or run the download again to get a version without it."
            ) from None
        if in_place(uri) and len(data) < limit and hashlib.sha256(data).hexdigest() != content_id:
            raise DataError(
                f"The image {uri} has changed since the dataset was downloaded: its SHA-256 is no longer {content_id}. "
                "Run the download again to get a version with the new content."
            )
        return data

    def _storage(self, place: str) -> Storage:
        if (found := self._places.get(place)) is None:
            hdfs = place.startswith("hdfs://")
            opened = HdfsStorage(place, self.hdfs_http) if hdfs else open_storage(place, self.options)
            found = self._places.setdefault(place, opened)
        return found

    def read_all(self, wanted: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        """The bytes of several (uri, content_id), in order; fetched side by side where they come over a network."""
        local = is_local(self.lake) and not any("://" in uri for uri, _ in wanted)
        return read_in_order(lambda pair: self.read(*pair), wanted, local=local)


def in_place(uri: str) -> bool:
    """Whether an address of a table points outside the lake."""
    return uri.startswith("/") or "://" in uri


def _place(uri: str) -> tuple[str, str]:
    """The storage that holds an absolute address (a whole disk, bucket or file system), and the path in it."""
    if uri.startswith("/"):
        return "/", uri.lstrip("/")
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", path


def is_local(lake: Storage) -> bool:
    """Whether a lake is a folder of this machine."""
    return lake.root.startswith("/")


def read_in_order(read: Callable[[Wanted], Found], wanted: Sequence[Wanted], *, local: bool) -> Iterator[Found]:
    """What ``read`` gives for each, in order: one after the other where it is local, else several at a time."""
    if local:
        yield from map(read, wanted)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, wanted)
