"""A storage in a bucket of an S3 object store, through the minio client."""

from __future__ import annotations

import builtins
import errno
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import urllib3
from minio.error import S3Error
from minio.helpers import check_bucket_name

from darkroom.errors import InvalidRequest
from darkroom.storage.base import Blob, StorageOptions, checked_path
from darkroom.storage.connection import BUSY, TRIES, Connection, error_code, is_absent, pause
from darkroom.storage.folder import save_stream
from darkroom.storage.streams import Counted, RangeReader

_PART_BYTES = 16 * 2**20
_MAX_PARTS = 9_000


class S3Storage:
    """Blobs as objects below s3://bucket/prefix. The bucket must exist.

    A put is whole or not at all by itself; a conditional create is a put with ``If-None-Match: *``.
    """

    def __init__(self, root: str, options: StorageOptions | None = None) -> None:
        self.options = options if options is not None else StorageOptions.from_settings()
        parts = urlsplit(root)
        self.bucket = parts.netloc
        self.prefix = checked_path(parts.path.strip("/"), folder=True)
        try:
            check_bucket_name(self.bucket, s3_check=True)
        except ValueError as error:
            raise InvalidRequest(
                f"The address {root!r} names no bucket ({error}). Expected s3://bucket/prefix."
            ) from None
        if parts.scheme != "s3" or parts.query or parts.fragment:
            raise InvalidRequest(f"The address {root!r} cannot be opened. Expected s3://bucket/prefix.")
        if not self.options.access_key or not self.options.secret_key:
            raise InvalidRequest(
                f"There is no login for {root}. Set DARKROOM_S3_ACCESS_KEY and DARKROOM_S3_SECRET_KEY, "
                "and DARKROOM_S3_ENDPOINT where it is not AWS."
            )
        self.root = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._to = Connection(self.bucket, self.options)

    def __repr__(self) -> str:
        return f"S3Storage({self.root!r}, {self.options!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Storage) and (other.root, other.options) == (self.root, self.options)

    def __hash__(self) -> int:
        return hash((self.root, self.options))

    def uri(self, path: str) -> str:
        path = checked_path(path, folder=True)
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        if limit == 0:
            self._present(path)
            return b""
        return self._range(path, None, 0, limit or 0)

    def open(self, path: str) -> BinaryIO:
        blob = self._present(path)
        return cast(BinaryIO, io.BufferedReader(RangeReader(partial(self._range, path, blob.etag), blob.size)))

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        if isinstance(data, Path):
            with data.open("rb") as stream:
                return self._put(path, stream, data.stat().st_size)
        if isinstance(data, bytes | bytearray | memoryview):
            return self._put(path, io.BytesIO(data), len(data))
        return self._put(path, data, -1)

    def create(self, path: str, data: bytes) -> bool:
        key = self._key(path)
        action = f"create {path}"
        with self._to.told(action):
            url = self._to.client.get_presigned_url("PUT", self.bucket, key, expires=timedelta(minutes=5))
        unsure = False  # whether an earlier try may have landed although its answer was lost
        number = 0
        while True:
            number += 1
            pause(number)
            try:
                answer = self._to.http.request(
                    "PUT", url, body=data, headers={"If-None-Match": "*"}, retries=False, redirect=False
                )
            except urllib3.exceptions.HTTPError as error:
                if number == TRIES or isinstance(error, urllib3.exceptions.SSLError):
                    raise self._to.unavailable(action, error) from None
                unsure = True
                continue
            if answer.status == 200:
                return True
            if answer.status == 412:
                return unsure and self.read(path) == data
            if number == TRIES or answer.status not in (*BUSY, 409):
                raise self._to.refused(action, answer.status, error_code(answer.data))
            unsure = unsure or answer.status != 409

    def stat(self, path: str) -> Blob | None:
        key = self._key(path)
        with self._to.told(f"look at {path}"):
            try:
                found = self._to.client.stat_object(self.bucket, key)
            except S3Error as error:
                if not is_absent(error):
                    raise
                self._to.confirm(key)
                return None
        return _blob(path, found)

    def list(self, prefix: str = "") -> Iterator[Blob]:
        start = len(self.prefix) + 1 if self.prefix else 0
        for found in self._objects(prefix, recursive=True):
            if not found.object_name.endswith("/"):
                yield _blob(found.object_name[start:], found)

    def folders(self, prefix: str = "") -> builtins.list[str]:
        names = {
            found.object_name.rstrip("/").rpartition("/")[2]
            for found in self._objects(prefix, recursive=False)
            if found.object_name.endswith("/")
        }
        return sorted(names)

    def delete(self, path: str) -> None:
        key = self._key(path)
        with self._to.told(f"delete {path}"):
            try:
                self._to.client.remove_object(self.bucket, key)
            except S3Error as error:
                if not is_absent(error):
                    raise

    def download(self, path: str, target: Path) -> None:
        with self.open(path) as stream:
            save_stream(stream, target)

    def unfinished(self) -> Iterator[Blob]:
        # Asked of the whole bucket: MinIO takes a prefix here for the name of one object.
        start = f"{self.prefix}/" if self.prefix else ""
        with self._to.told("list the unfinished uploads"):
            for upload in self._to.uploads():
                if (key := str(upload.object_name)).startswith(start):
                    began = upload.initiated_time or datetime.now(UTC)  # without a time it never counts as old
                    yield Blob(key.removeprefix(start), 0, str(upload.upload_id), began.astimezone(UTC))

    def discard(self, unfinished: Blob) -> None:
        with self._to.told(f"end the upload of {unfinished.path}"):
            self._to.end_upload(self._key(unfinished.path), unfinished.etag)

    def delta_options(self) -> dict[str, str]:
        return self.options.delta_options()

    def _key(self, path: str) -> str:
        checked_path(path)
        return f"{self.prefix}/{path}" if self.prefix else path

    def _objects(self, prefix: str, *, recursive: bool) -> Iterator[Any]:
        below = "/".join(name for name in (self.prefix, checked_path(prefix, folder=True)) if name)
        below += "/" if below else ""
        with self._to.told(f"list {prefix or 'the root'}"):
            for found in self._to.client.list_objects(self.bucket, prefix=below, recursive=recursive):
                if found.object_name != below:
                    yield found

    def _present(self, path: str) -> Blob:
        blob = self.stat(path)
        if blob is None:
            raise self._no_such_file(path)
        return blob

    def _no_such_file(self, path: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, "There is no such file in the lake", self.uri(path))

    def _range(self, path: str, etag: str | None, start: int, length: int) -> bytes:
        """``length`` bytes (0: all) from ``start`` of the blob with that tag; asked again if the answer breaks off."""
        key = self._key(path)
        headers: dict[str, str | list[str] | tuple[str]] = {"If-Match": f'"{etag}"'} if etag else {}
        with self._to.told(f"read {path}"):
            number = 0
            while True:
                number += 1
                pause(number)
                try:
                    answer = self._to.client.get_object(self.bucket, key, start, length, request_headers=headers)
                    try:
                        return answer.read()
                    finally:
                        answer.release_conn()
                except S3Error as error:
                    if is_absent(error):
                        raise self._no_such_file(path) from None
                    if error.response.status == 416 and not start:  # the first bytes of an empty object
                        return b""
                    raise
                except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
                    if number == TRIES:
                        raise

    def _put(self, path: str, stream: BinaryIO, length: int) -> Blob:
        key = self._key(path)
        counted = Counted(stream)
        part = 2 * _PART_BYTES if length < 0 else max(_PART_BYTES, -(-length // _MAX_PARTS))
        with self._to.told(f"write {path}"):
            put = self._to.client.put_object(
                self.bucket, key, cast(BinaryIO, counted), length, part_size=part, num_parallel_uploads=2
            )
        date = put.http_headers.get("Date") if put.http_headers else None
        modified = parsedate_to_datetime(date).astimezone(UTC) if date else self._present(path).modified
        return Blob(path, counted.size, str(put.etag).strip('"'), modified)


def _blob(path: str, found: Any) -> Blob:
    return Blob(path, found.size, str(found.etag).strip('"'), found.last_modified.astimezone(UTC))
