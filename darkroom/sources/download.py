"""Fetches one file over HTTP, resumed after a cut: within a run, and by the next run after a kill.

A part is continued only where the server can promise that it is still the same file (If-Range with a strong ETag or a
date, RFC 9110 section 13.1.5); otherwise it starts anew. Messages never show a login or a query.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from darkroom.contract import stable_hash
from darkroom.errors import DarkroomError, InvalidRequest, SourceError, StorageUnavailable, UserError
from darkroom.sources.base import REPORT_SECONDS, Progress, without_login

TRIES = 5  # in a row without a new byte
_MOST_TRIES = 100  # in all
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_RETRIED = frozenset({408, 425, 429})
_NO_HEAD = frozenset({400, 403, 405, 501})  # servers that refuse HEAD may still answer GET


class Download:
    """One address, the folder where its part is kept, and the most bytes that are taken.

    ``signed``: the address is good for a while only, and this is how messages call the file instead. Its part is then
    continued under another address for the same file, and a refused address is tried again with a new one.
    ``setting``: where ``max_bytes`` comes from.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        max_bytes: int,
        *,
        pause: float = 0.5,
        signed: str = "",
        setting: str = "DARKROOM_MAX_ARCHIVE_BYTES",
    ) -> None:
        self._url, self._authorization = _split_login(url)
        self.address = signed or without_login(url)
        self._signed = bool(signed)
        self._folder = folder / stable_hash(["download", signed or self._url])
        self._part, self._about = self._folder / "part", self._folder / "about.json"
        self._max_bytes, self._setting, self._pause = max_bytes, setting, pause
        self._known: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str | None:
        """Names the bytes by what the server said of them; None when it said too little."""
        etag, date, length = (self._known.get(key) for key in ("etag", "date", "length"))
        if not etag and not (date and length is not None):
            return None
        return stable_hash(["http", self._url, etag, date, length], 32)

    def remote_fingerprint(self) -> str | None:
        """The same, asked of the server without fetching the file; None when it does not tell."""
        try:
            with self._requested("HEAD", {}) as response:
                self._known = _validators(response.headers, response.headers.get("Content-Length"))
        except urllib.error.HTTPError as error:
            if error.code in _NO_HEAD or error.code >= 500 or error.code in _RETRIED:
                return None
            raise self._refused(error) from error
        except (OSError, http.client.HTTPException):
            return None  # the transfer, which tries again and then says what is wrong, will tell
        return self.fingerprint

    @contextmanager
    def file(self, progress: Progress) -> Iterator[Path]:
        """The complete file. It is removed afterwards, unless machinery failed: then the next try takes it up again."""
        with self._locked():
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                self._transferred(progress)
                yield self._part
            except UserError:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
            shutil.rmtree(self._folder, ignore_errors=True)

    def _transferred(self, progress: Progress) -> None:
        failures = tries = best = 0
        while True:
            tries += 1
            try:
                if self._try(progress):
                    return
                reason = "the connection was cut"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in _RETRIED:
                    raise self._refused(error) from error
                reason = f"the server answered {error.code} {error.reason}"
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
            have = self._have()
            failures = 1 if have > best else failures + 1
            best = max(best, have)
            if failures >= TRIES or tries >= _MOST_TRIES:
                raise StorageUnavailable(
                    f"{self.address} did not give the whole file: {reason}. Tried {tries} times; {have:,} of "
                    f"{_shown(self._known.get('length'))} bytes are here and kept for the next try."
                )
            wait = self._pause * 2 ** (failures - 1)
            progress(f"{self.address}: {reason} after {have:,} bytes; trying again in {wait:g} s")
            time.sleep(wait)

    def _try(self, progress: Progress) -> bool:
        """One request, from where the last one stopped where that is safe. True when the file is complete."""
        have = self._resumable()
        headers = {"Range": f"bytes={have}-", "If-Range": self._condition()} if have else {}
        try:
            response = self._requested("GET", headers)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            if error.headers.get("Content-Range", "").replace(" ", "") == f"bytes*/{have}":
                return True
            self._forget()
            return False
        with response:
            if response.status == 206 and not self._continues(response.headers, have):
                self._forget()
                return False
            if response.status != 206:
                have = 0
                self._remember(_validators(response.headers, response.headers.get("Content-Length")))
            self._check_room(have)
            with self._part.open("ab" if have else "wb") as part:
                self._copy(response, part, have, progress)
        length = self._known.get("length")
        return length is None or self._have() == length

    def _copy(self, response: Any, part: Any, have: int, progress: Progress) -> None:
        length = self._known.get("length")
        told, told_bytes = time.monotonic(), have
        while chunk := response.read(_CHUNK):
            have += len(chunk)
            if have > self._max_bytes:
                raise self._too_large(have)
            try:
                part.write(chunk)
                part.flush()
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise self._no_room(str(error.strerror)) from error
                raise
            step = 0.05 * length if length else 0
            if time.monotonic() - told >= REPORT_SECONDS and have - told_bytes >= step:
                share = f" ({100 * have / length:.0f} %)" if length else ""
                progress(f"{self.address}: {have / 1e6:,.0f} MB{share}")
                told, told_bytes = time.monotonic(), have

    def _resumable(self) -> int:
        """Bytes that are here and may be continued."""
        with suppress(FileNotFoundError, ValueError):
            self._known = dict(json.loads(self._about.read_bytes()))
        return self._have() if self._condition() else 0

    def _condition(self) -> str:
        """What If-Range may hold: a strong ETag, otherwise the date; empty when there is neither."""
        etag = self._known.get("etag") or ""
        return etag if etag and not etag.startswith("W/") else self._known.get("date") or ""

    def _continues(self, headers: Any, have: int) -> bool:
        """Whether a partial answer is the continuation of what is here."""
        found, _, total = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if found.partition("-")[0].strip() != str(have):
            return False
        now = _validators(headers, total)
        if any(now[key] and now[key] != self._known.get(key) for key in ("etag", "date", "length")):
            return False
        self._remember({key: self._known.get(key) or now[key] for key in now})
        return True

    def _remember(self, known: dict[str, Any]) -> None:
        self._known = known
        temporary = self._about.with_suffix(".new")
        temporary.write_text(json.dumps(known))
        if known.get("length") is not None and self._have() > known["length"]:
            self._part.unlink()
        os.replace(temporary, self._about)

    def _forget(self) -> None:
        self._known = {}
        self._part.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _check_room(self, have: int) -> None:
        length = self._known.get("length")
        if length is None:
            return
        if length > self._max_bytes:
            raise self._too_large(length)
        free = shutil.disk_usage(self._folder).free
        if length - have > free:
            raise self._no_room(f"{length - have:,} bytes are needed and {free:,} are free")

    def _requested(self, method: str, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self._url, method=method, headers=headers)
        request.add_header("User-Agent", "darkroom")
        request.add_header("Accept-Encoding", "identity")
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)  # never for another host
        return urllib.request.build_opener().open(request, timeout=_TIMEOUT)  # the proxy of now, not of the first call

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; another that wants the same file waits."""
        path = self._folder.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with path.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists() or path.stat().st_ino != os.fstat(lock.fileno()).st_ino:
                    continue  # its last holder removed it meanwhile
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return

    def _refused(self, error: urllib.error.HTTPError) -> DarkroomError:
        if self._signed:
            return StorageUnavailable(
                f"{self.address} was not given: its server answered {error.code} {error.reason} to the signed address. "
                "Run it again; it gets a new one."
            )
        return SourceError(
            f"{self.address} cannot be fetched: the server answered {error.code} {error.reason}. Check the address, "
            "and whether it needs a login (https://user:password@host/path)."
        )

    def _too_large(self, size: int) -> SourceError:
        return SourceError(
            f"{self.address} is refused: it has {size:,} bytes or more, and the limit is {self._max_bytes:,}. "
            f"If you trust it, raise {self._setting}."
        )

    def _no_room(self, reason: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"There is no room for {self.address} in {self._folder.parent}: {reason}. Free some space and run it again."
        )


def _validators(headers: Any, length: str | None) -> dict[str, Any]:
    size = int(length) if length and length.strip().isdigit() else None
    return {"etag": headers.get("ETag"), "date": headers.get("Last-Modified"), "length": size}


def _split_login(url: str) -> tuple[str, str]:
    """The address without user and password, safely quoted; and the Authorization header for them."""
    shown = repr(without_login(url))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host.encode("idna").decode() if not host.isascii() else host
    except (ValueError, UnicodeError) as error:
        raise InvalidRequest(f"{shown} is not an address ({error}). Expected http(s)://host/path.") from error
    if not host:
        raise InvalidRequest(f"{shown} names no host. Expected http(s)://host/path.")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    path, query = quote(parts.path, safe="/%:@!$&'()*+,;=~-._"), quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    plain = urlunsplit((parts.scheme.lower(), place, path, query, ""))
    if parts.username is None:
        return plain, ""
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return plain, "Basic " + base64.b64encode(login).decode()


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return str(inner if isinstance(inner, BaseException) else error) or type(error).__name__


def _shown(length: int | None) -> str:
    return "an unknown number of" if length is None else f"{length:,}"
