"""What a storage is: blobs below one root, whatever keeps them."""

from __future__ import annotations

import builtins
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable
from urllib.parse import urlsplit

from darkroom.errors import InvalidRequest
from darkroom.settings import Settings, get_settings

TEMPORARY = ".tmp-"
"""A write that is under way has a file name with this start. No listing shows it and no path may use it."""


_DELTAS_OWN = re.compile(r"(.*/)?_delta_log/([^/]+#\d+|\.[^/]+\.tmp\.\d+)")
"""How deltalake names a log entry under way, in a folder and in HDFS."""


@dataclass(frozen=True)
class Blob:
    """One blob: its path relative to the storage's root, size in bytes, content tag and UTC time of change."""

    path: str
    size: int
    etag: str
    modified: datetime


@runtime_checkable
class Storage(Protocol):
    """Blobs below one root. Paths are relative to it and "/" separated. Picklable, so that it reaches Spark workers.

    Every method raises InvalidRequest for a path that leads out of the root or for refused credentials, and
    StorageUnavailable when what is behind it does not answer or cannot take a write.
    """

    root: str

    def uri(self, path: str) -> str:
        """The absolute address of ``path``: a folder path, s3://bucket/prefix/path, hdfs://host:port/path."""

    def read(self, path: str, *, limit: int | None = None) -> bytes:
        """The blob's bytes, at most ``limit`` of them. Raises FileNotFoundError when it is absent."""

    def open(self, path: str) -> BinaryIO:
        """A seekable stream over the blob. Raises FileNotFoundError when it is absent."""

    def write(self, path: str, data: bytes | BinaryIO | Path) -> Blob:
        """Writes or replaces a blob. A reader sees the old one or the new one, never a part."""

    def create(self, path: str, data: bytes) -> bool:
        """Writes a blob that must not exist yet. False, with nothing written, when it does. One racing writer wins."""

    def stat(self, path: str) -> Blob | None:
        """What is known of the blob; None when it is absent."""

    def list(self, prefix: str = "") -> Iterator[Blob]:
        """Every blob below the folder ``prefix``, at any depth, sorted by path. An absent folder has none."""

    def folders(self, prefix: str = "") -> builtins.list[str]:
        """Sorted names of the folders directly below the folder ``prefix``."""

    def delete(self, path: str) -> None:
        """Removes a blob; an absent one is fine."""

    def download(self, path: str, target: Path) -> None:
        """Copies the blob to a local file, which appears complete or not at all."""

    def unfinished(self) -> Iterator[Blob]:
        """What writes that are under way, or were killed, hold: no reader sees it. ``discard`` removes one."""

    def discard(self, unfinished: Blob) -> None:
        """Removes what ``unfinished`` found. If its write still goes on, that write fails."""

    def delta_options(self) -> dict[str, str]:
        """What the deltalake library needs to reach this storage; empty for a folder."""


@dataclass(frozen=True)
class StorageOptions:
    """How an object store is reached. Its text never shows the keys.

    ``endpoint`` is a URL such as http://127.0.0.1:9000; empty means AWS in ``region``. ``ca`` is the text of the PEM
    certificates of a private CA that signed its certificate; empty means the public ones that this machine trusts.
    """

    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> StorageOptions:
        """The options that DARKROOM_S3_* name. Raises InvalidRequest for a CA file that holds no certificate."""
        found = settings or get_settings()
        return cls(
            found.s3_endpoint,
            found.s3_region,
            found.s3_access_key.get_secret_value(),
            found.s3_secret_key.get_secret_value(),
            _certificates(found.s3_ca_file) if found.s3_ca_file else "",
        )

    @property
    def address(self) -> str:
        """The URL that is spoken to. Raises InvalidRequest when the endpoint is no http(s) URL of a host."""
        url = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        if (origin := origin_of(url)) is None:
            raise InvalidRequest(
                f"The object store's endpoint {_without_login(url)!r} is not an address. Expected http://host:port "
                "or https://host without a path or login. Set DARKROOM_S3_ENDPOINT."
            )
        return origin

    @property
    def secure(self) -> bool:
        return self.address.startswith("https://")

    def delta_options(self) -> dict[str, str]:
        """Storage options for deltalake: path-style requests, conditional puts, a bounded wait."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ALLOW_HTTP": "false" if self.secure else "true",
            "aws_conditional_put": "etag",
            "connect_timeout": "5s",
            "timeout": "120s",
            "max_retries": "4",
            "retry_timeout": "60s",
            **(self._delta_trust() if self.ca and self.secure else {}),
        }

    def _delta_trust(self) -> dict[str, str]:
        """The private CA for deltalake. It takes one only beside a proxy, so it gets a proxy that is never used."""
        return {
            "proxy_url": "http://127.0.0.1:9",
            "proxy_ca_certificate": self.ca,
            "proxy_excludes": str(urlsplit(self.address).hostname),
        }

    def spark_conf(self) -> dict[str, str]:
        """Spark settings that make s3a:// addresses of this object store known to Spark; ``spark_keys`` open them."""
        values = {
            "endpoint": self.address,
            "endpoint.region": self.region,
            "path.style.access": "true",
            "connection.ssl.enabled": "true" if self.secure else "false",
        }
        return {f"spark.hadoop.fs.s3a.{name}": value for name, value in values.items()}

    def spark_keys(self) -> dict[str, str]:
        """The login, as settings of Hadoop. Never settings of Spark: those stand on command lines and on pages."""
        return {"fs.s3a.access.key": self.access_key, "fs.s3a.secret.key": self.secret_key}


def is_under_way(path: str) -> bool:
    """Whether the file at ``path`` is a write under way, or one that was killed: ours, or a log entry of deltalake."""
    return path.rpartition("/")[2].startswith(TEMPORARY) or _DELTAS_OWN.fullmatch(path) is not None


def checked_path(path: str, *, folder: bool = False) -> str:
    """The path, when it stays below a storage's root. Raises InvalidRequest otherwise.

    ``folder`` allows the empty path and one "/" at the end, and returns the path without it.
    """
    if folder and isinstance(path, str):
        path = path[:-1] if path.endswith("/") and path != "/" else path
        if not path:
            return path
    if (problem := _path_problem(path)) is not None:
        raise InvalidRequest(
            f"The path {path!r} cannot be used: {problem}. Expected a path relative to the storage's root, with '/' "
            "between names, such as 'raw/phantom/a.jpg'."
        )
    return path


def _path_problem(path: str) -> str | None:
    if not isinstance(path, str) or not path:
        return "it is empty or not text"
    if path.startswith("/"):
        return "it is absolute"
    if "\0" in path or "\\" in path:
        return "it holds a NUL or a backslash"
    names = path.split("/")
    if any(name in ("", ".", "..") for name in names):
        return "it holds an empty name, '.' or '..'"
    if any(name.startswith(TEMPORARY) for name in names):
        return f"names that start with {TEMPORARY!r} are kept for writes under way"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode text"
    return None


def _certificates(file: str) -> str:
    try:
        text = Path(file).expanduser().read_text()
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise ValueError("it holds no PEM certificate")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"The file {file} cannot be used as the object store's CA: {reason}. Expected its certificates as "
            "PEM text (-----BEGIN CERTIFICATE-----). Set DARKROOM_S3_CA_FILE."
        ) from None
    return text


def origin_of(url: str) -> str | None:
    """http(s)://host[:port] of a server's address; None when it is no such address, or has a path, query or login."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        valid = valid and parts.username is None and not parts.query and parts.port != 0
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}" if valid else None


def _without_login(url: str) -> str:
    return url.rpartition("@")[2]
