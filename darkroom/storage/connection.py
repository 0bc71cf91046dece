"""The connection to one bucket of an object store: the client of this process, and its failures as our errors."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.datatypes import Upload
from minio.error import MinioException, S3Error

from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.storage.base import StorageOptions

TRIES = 5
"""How often a request is sent before the object store counts as unavailable."""

BUSY = (429, 500, 502, 503, 504)
_PASSING = (*BUSY, 409, 412)
FULL_ADVICE = "The object store has no room left, or a quota is used up. Free some space there and run it again."
_FULL = re.compile(
    r"^507\b|status code 507\b|InsufficientStorage|StorageFull|QuotaExceeded"
)  # some have a prefix of the server's own
_PAUSE_SECONDS = 0.2
_FAILURES = (MinioException, urllib3.exceptions.HTTPError, ElementTree.ParseError)
_CODE = re.compile(rb"<Code>([^<]{1,80})</Code>")


class Connection:
    """Reaches ``bucket`` with ``options``. One connection pool a process: it can be pickled, and used after a fork."""

    def __init__(self, bucket: str, options: StorageOptions) -> None:
        self.bucket = bucket
        self.options = options
        self.address = options.address
        self._pools: dict[int, tuple[Minio, urllib3.PoolManager]] = {}
        self._confirmed = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pools": {}}

    @property
    def client(self) -> Minio:
        return self._pool()[0]

    @property
    def http(self) -> urllib3.PoolManager:
        return self._pool()[1]

    def confirm(self, key: str) -> None:
        """Asks once whether the bucket is there for this login: a look at one object has no body that could say so."""
        if not self._confirmed:
            for _ in self.client.list_objects(self.bucket, prefix=f"{key}/", recursive=False):
                break
            self._confirmed = True

    def uploads(self) -> Iterator[Upload]:
        """The bucket's multipart uploads that are neither complete nor ended. The client has no public call for it."""
        key, upload = None, None
        while True:
            page = self.client._list_multipart_uploads(self.bucket, key_marker=key, upload_id_marker=upload)
            yield from page.uploads
            if not page.is_truncated or not page.uploads:
                return
            key, upload = page.uploads[-1].object_name, page.uploads[-1].upload_id

    def end_upload(self, key: str, upload: str) -> None:
        """Ends a multipart upload, which frees its parts; one that is complete or gone is fine."""
        try:
            self.client._abort_multipart_upload(self.bucket, key, upload)
        except S3Error as error:
            if error.code != "NoSuchUpload":
                raise

    @contextmanager
    def told(self, action: str) -> Iterator[None]:
        """Turns what the client raises into one of our errors. No text of it holds a key or a signature."""
        try:
            yield
        except S3Error as error:
            raise self.refused(action, error.response.status, f"{error.code}, {error.message}") from None
        except _FAILURES as error:
            raise self.unavailable(action, error) from None

    def refused(self, action: str, status: int, said: str) -> DarkroomError:
        """What an answer of the object store that is not a success means for whoever asked."""
        what = f"Could not {action} in the bucket {self.bucket} at {self.address}: HTTP {status} ({said})."
        if is_full(f"{status} {said}"):
            return StorageUnavailable(f"{what} {FULL_ADVICE} Nothing was left half-written.")
        if status in _PASSING:
            return StorageUnavailable(f"{what} Nothing was left half-written. Run it again.")
        if said.startswith("NoSuchUpload"):  # a lost answer's own upload, or one that a clean-up has ended
            return StorageUnavailable(f"{what} The upload is ended or complete. Run it again.")
        if said.startswith("NoSuchBucket"):
            return InvalidRequest(f"{what} Create the bucket, or name another in DARKROOM_LAKE.")
        if status in (401, 403, 404):  # some servers answer 404 to a login that they do not know
            return InvalidRequest(
                f"{what} The login was refused or may not do this. Check DARKROOM_S3_ACCESS_KEY, "
                "DARKROOM_S3_SECRET_KEY, DARKROOM_S3_REGION, the rights on the bucket and this machine's clock."
            )
        return InvalidRequest(f"{what} Check DARKROOM_LAKE, DARKROOM_S3_ENDPOINT and DARKROOM_S3_REGION.")

    def unavailable(self, action: str, error: Exception) -> DarkroomError:
        """The error for an object store that does not answer, answers what none does, or cannot be trusted."""
        cause = getattr(error, "reason", None) or error
        reason = str(cause)[:300]
        if isinstance(cause, urllib3.exceptions.SSLError):
            return InvalidRequest(
                f"Could not {action} in the bucket {self.bucket} at {self.address}: no trusted https connection "
                f"({reason}). Set DARKROOM_S3_CA_FILE to the PEM file of the CA that signed the server's certificate, "
                "and check that DARKROOM_S3_ENDPOINT names the host that it is for."
            )
        return StorageUnavailable(
            f"Could not {action} in the bucket {self.bucket} at {self.address} in {TRIES} tries: {reason}. Nothing "
            "was left half-written. Check that the object store is up and DARKROOM_S3_ENDPOINT names it."
        )

    def _pool(self) -> tuple[Minio, urllib3.PoolManager]:
        if (found := self._pools.get(os.getpid())) is None:
            retries = urllib3.Retry(
                total=TRIES - 1,
                other=0,  # a certificate that is not trusted will not be trusted the next time
                backoff_factor=_PAUSE_SECONDS,
                status_forcelist=BUSY,
            )
            timeout = urllib3.Timeout(connect=5, read=60)
            http = urllib3.PoolManager(
                maxsize=16, timeout=timeout, retries=retries, ca_cert_data=self.options.ca or None
            )
            client = Minio(
                urlsplit(self.address).netloc,
                access_key=self.options.access_key,
                secret_key=self.options.secret_key,
                secure=self.options.secure,
                region=self.options.region,
                http_client=http,
            )
            found = self._pools.setdefault(os.getpid(), (client, http))
        return found


def pause(number: int) -> None:
    """The wait before try ``number`` of a request: none before the first, then a growing one."""
    if number > 1:  # sleep(0) gives the processor away, once for every request
        time.sleep(_PAUSE_SECONDS * (2 ** (number - 1) - 1))


def is_full(said: str) -> bool:
    """True when what an object store said, status or code, means that it has no room left."""
    return _FULL.search(said) is not None


def is_absent(error: S3Error) -> bool:
    """True when the object is not there; a missing bucket or login can be a 404 too."""
    return error.response.status == 404 and error.code == "NoSuchKey"


def error_code(body: bytes) -> str:
    """The code in an S3 error's XML body."""
    found = _CODE.search(body)
    return found.group(1).decode(errors="replace") if found else "no reason given"
