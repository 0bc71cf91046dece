"""WebHDFS, HDFS's own HTTP interface: requests to the NameNode, data to and from DataNodes, failures as our errors."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urljoin

import urllib3

from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.storage.base import origin_of

TRIES = 5
"""How often a request is sent before HDFS counts as unavailable."""

_PAUSE_SECONDS = 0.2
_CHUNK = 1 << 20
_BUSY = (408, 429, 500, 502, 503, 504)
_PASSING = {"StandbyException", "RetriableException", "SafeModeException", "NotReplicatedYetException"}
_REFUSED = {"AccessControlException", "SecurityException", "AuthorizationException", "InvalidToken"}
_WRONG = {"InvalidPathException", "IllegalArgumentException", "PathComponentTooLongException"}
_NAMES = {"ParentNotDirectoryException", "FileAlreadyExistsException", "PathIsDirectoryException"}


class Said(Exception):
    """What HDFS answered instead of success: the HTTP status, the Java exception's name and its message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind
        self.message = message

    @property
    def absent(self) -> bool:
        """Whether the path is not there, or a file stands where a folder of it should be."""
        return self.kind == "FileNotFoundException" or self.below_a_file

    @property
    def below_a_file(self) -> bool:
        return self.kind == "ParentNotDirectoryException" or "(is not a directory)" in self.message

    @property
    def taken(self) -> bool:
        return self.kind == "FileAlreadyExistsException"

    @property
    def lasting(self) -> bool:
        """Whether the same request would be answered the same again."""
        return self.kind not in _PASSING if self.kind else self.status not in _BUSY


class WebHdfs:
    """Speaks to the NameNode (or an HttpFS gateway) at ``address`` as ``user``.

    One connection pool a process: it can be pickled, and used after a fork.
    """

    def __init__(self, address: str, user: str = "") -> None:
        self.address = _checked_address(address)
        self.user = user or os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
        self._pools: dict[int, urllib3.PoolManager] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pools": {}}

    @property
    def http(self) -> urllib3.PoolManager:
        if (found := self._pools.get(os.getpid())) is None:
            timeout = urllib3.Timeout(connect=5, read=60)
            found = self._pools.setdefault(os.getpid(), urllib3.PoolManager(maxsize=16, timeout=timeout, retries=False))
        return found

    def ask(self, method: str, operation: str, path: str, **options: str | int) -> dict[str, Any]:
        """The JSON that the NameNode answers. For what may be done twice. Raises Said, StorageUnavailable."""
        answer = self._try(lambda: self._request(method, self._url(operation, path, options)))
        return _parsed(answer)

    def data(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes (None: all) from ``offset`` of a file. Raises Said, StorageUnavailable."""
        options = {"offset": offset} | ({} if length is None else {"length": length})
        url = self._url("OPEN", path, options)
        return self._try(lambda: self._request("GET", self._there(self._request("GET", url), url))).data

    def fill(self, path: str, data: bytes | BinaryIO | Path) -> None:
        """Makes or overwrites the file. Visible while it grows, and left as it is by a writer that dies.

        A stream is read once: when its way to HDFS breaks, StorageUnavailable is raised at once.
        """
        url = self._url("CREATE", path, {"overwrite": "true", "createparent": "true"})

        broken: list[Exception] = []

        def once() -> urllib3.BaseHTTPResponse:
            target = self._there(self._request("PUT", url), url)
            if isinstance(data, Path):
                with data.open("rb") as stream:
                    return self._request("PUT", target, _pieces(stream, broken))
            if isinstance(data, bytes | bytearray | memoryview):
                return self._request("PUT", target, bytes(data))
            return self._request("PUT", target, _pieces(data, broken))

        again = isinstance(data, bytes | bytearray | memoryview | Path)
        try:
            self._try(once, tries=TRIES if again else 1)
        except StorageUnavailable:
            if broken:
                raise broken[-1] from None
            raise

    def rename(self, source: str, target: str, *, overwrite: bool) -> bool:
        """Renames a file that only this caller knows, in one step. False when the target is taken and stays.

        When the answer to an earlier try was lost and the source is gone, that try did it.
        """
        options: dict[str, str | int] = {
            "destination": target,
            "renameoptions": "OVERWRITE" if overwrite else "NONE",
        }
        url = self._url("RENAME", source, options)
        lost: list[Exception] = []
        try:
            self._try(lambda: self._request("PUT", url), lost=lost)
        except Said as said:
            if said.taken and not overwrite:
                return False
            if not (lost and said.kind == "FileNotFoundException"):
                raise
        return True

    def explained(self, action: str, where: str, said: Said) -> DarkroomError:
        """What an answer that is not a success means for whoever asked."""
        reason = said.message.splitlines()[0][:300] if said.message else "no reason given"
        what = f"Could not {action} {where} at {self.address}: {said.kind or f'HTTP {said.status}'} ({reason})."
        if said.kind in _REFUSED and not said.below_a_file:
            return InvalidRequest(
                f"{what} The user {self.user} may not do this. Give that user the right to it, or set HADOOP_USER_NAME."
            )
        if said.kind in _WRONG or "must both be directories" in said.message:
            return InvalidRequest(f"{what} HDFS cannot keep a file under that name. Use another path.")
        if said.kind in _NAMES or said.below_a_file:
            return InvalidRequest(f"{what} A file and a folder cannot share a name. Use another path.")
        if not said.kind and said.status in (401, 404):
            return InvalidRequest(f"{what} Check that DARKROOM_HDFS_HTTP names the NameNode's HTTP address.")
        return StorageUnavailable(f"{what} Nothing was left half-written. Check HDFS and run it again.")

    def _url(self, operation: str, path: str, options: dict[str, Any]) -> str:
        query = urlencode({"op": operation, "user.name": self.user, **options}, quote_via=quote, safe="")
        return f"{self.address}/webhdfs/v1{quote(path)}?{query}"

    def _request(self, method: str, url: str, body: Any = None) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        answer = self.http.request(method, url, body=body, headers=headers, redirect=False)
        if answer.status >= 400:
            raise _said(answer)
        return answer

    def _there(self, answer: urllib3.BaseHTTPResponse, url: str) -> str:
        """The DataNode's address that the NameNode sends to."""
        if not (location := answer.headers.get("Location")):
            raise Said(answer.status, "", "The answer names no DataNode")
        return urljoin(url, location)

    def _try(
        self,
        once: Callable[[], urllib3.BaseHTTPResponse],
        *,
        tries: int = TRIES,
        lost: list[Exception] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        number = 0
        while True:
            number += 1
            try:
                return once()
            except Said as said:
                if said.lasting or number == tries:
                    raise
            except urllib3.exceptions.HTTPError as error:
                if lost is not None:
                    lost.append(error)
                if number == tries:
                    raise self._unavailable(error, tries) from None
            time.sleep(_PAUSE_SECONDS * (2**number - 1))  # longer each time; none before the first try

    def _unavailable(self, error: Exception, tries: int) -> StorageUnavailable:
        reason = str(getattr(error, "reason", None) or error)[:300]
        return StorageUnavailable(
            f"HDFS at {self.address} did not answer in {tries} tries: {reason}. Nothing was left half-written. "
            "Check that its NameNode and DataNodes are up and DARKROOM_HDFS_HTTP names the NameNode's HTTP address."
        )


def _pieces(stream: BinaryIO, broken: list[Exception]) -> Iterator[bytes]:
    """The stream's bytes. Its own failure goes to ``broken``: the HTTP client would call it one of the connection."""
    try:
        while data := stream.read(_CHUNK):
            yield data
    except Exception as error:
        broken.append(error)
        raise


def _said(answer: urllib3.BaseHTTPResponse) -> Said:
    try:
        found = json.loads(answer.data)["RemoteException"]
        return Said(answer.status, str(found.get("exception", "")), str(found.get("message") or ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Said(answer.status, "", str(answer.reason or "no reason given"))


def _parsed(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    if not answer.data:
        return {}
    try:
        found = json.loads(answer.data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Said(404, "", "the answer is not WebHDFS's JSON")
    return found


def _checked_address(address: str) -> str:
    if (origin := origin_of(address)) is None:
        raise InvalidRequest(
            f"The HTTP address of HDFS {address.rpartition('@')[2]!r} is none. Expected http://host:port of the "
            "NameNode (9870 by default), without a path or login. Set DARKROOM_HDFS_HTTP."
        )
    return origin
