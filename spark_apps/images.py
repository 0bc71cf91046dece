"""How Spark workers get at the bytes of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from darkroom.errors import DataError
from darkroom.settings import get_settings
from darkroom.storage import Storage, StorageOptions, open_storage

_READERS = 8  # blobs of an object store that a worker fetches at a time


class ImageReader:
    """Reads images by the addresses that tables hold: relative to the lake, or absolute for in-place sources.

    Picklable. At most one byte more than settings.max_image_bytes is read of a file, enough to see that it is too
    large.
    """

    def __init__(self, lake: Storage, options: StorageOptions | None = None) -> None:
        self.lake = lake
        self.options = options or StorageOptions.from_settings()

    def read(self, uri: str, content_id: str) -> bytes:
        """The bytes of one image. Raises DataError when they are gone, or are no longer those of ``content_id``."""
        limit = get_settings().max_image_bytes + 1
        in_place = uri.startswith("/") or "://" in uri
        try:
            if in_place:
                root, _, name = uri.rpartition("/")
                data = open_storage(root or "/", self.options).read(name, limit=limit)
            else:
                data = self.lake.read(uri, limit=limit)
        except FileNotFoundError:
            raise DataError(
                f"The image {self._shown(uri)} is gone since the dataset was downloaded. "
                "Put it back, or run the download again to get a version without it."
            ) from None
        if in_place and len(data) < limit and hashlib.sha256(data).hexdigest() != content_id:
            raise DataError(
                f"The image {uri} has changed since the dataset was downloaded: its SHA-256 is no longer {content_id}. "
                "Run the download again to get a version with the new content."
            )
        return data

    def read_all(self, wanted: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        """The bytes of several (uri, content_id), in order; fetched side by side where they come over a network."""
        if self.lake.root.startswith("/") and not any("://" in uri for uri, _ in wanted):
            yield from (self.read(uri, content_id) for uri, content_id in wanted)
            return
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(lambda pair: self.read(*pair), wanted)

    def _shown(self, uri: str) -> str:
        return uri if uri.startswith("/") or "://" in uri else self.lake.uri(uri)


def partition_count(default_parallelism: int, images: int, least: int = 16) -> int:
    """Two partitions a core, so that a slow one does not hold up the rest; fewer where each would get a handful."""
    return max(1, min(2 * default_parallelism, -(-images // least)))
