"""Real servers for tests: built once into the user's cache folder, started on a free port, stopped by process id."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import urllib3
from minio import Minio

from darkroom.storage import StorageOptions
from infra import binaries
from infra.binaries import VERSITYGW
from infra.local.services import CannotRun

MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
_START_SECONDS = 60


def left_out(what: str, why: str) -> NoReturn:
    """Skips the test, or fails it where servers are required. One line says what was left out and why."""
    line = f"{what} left out: {why}"
    if os.environ.get("DARKROOM_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{line} DARKROOM_REQUIRE_SERVERS=1 wants them.", pytrace=False)
    pytest.skip(line)


def go_binary(name: str, package: str) -> Path:
    """The program of a Go package, from the cache folder or built into it now; left out where it cannot be had."""
    try:
        return binaries.go_binary(name, package)
    except CannotRun as error:
        left_out(f"Tests on {name}", f"it {error}.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def versitygw(folder: Path, *, access_log: Path | None = None, accounts: bool = False) -> Iterator[StorageOptions]:
    """A running S3 server over files below ``folder``, and how it is reached. ``accounts``: logins can be added."""
    program = go_binary("versitygw", VERSITYGW)
    (folder / "root").mkdir(parents=True)
    (folder / "versions").mkdir()
    (folder / "accounts").mkdir()
    options = StorageOptions(
        f"http://127.0.0.1:{free_port()}", "us-east-1", f"test{secrets.token_hex(6)}", secrets.token_hex(20)
    )
    command = [
        str(program), "--port", options.endpoint.removeprefix("http://"), "--health", "/health",
        "--keep-alive", "--quiet",
        *(["--access-log", str(access_log)] if access_log else []),
        *(["--iam-dir", str(folder.absolute() / "accounts")] if accounts else []),
        "posix", "--versioning-dir", str(folder.absolute() / "versions"), str(folder.absolute() / "root"),
    ]  # fmt: skip
    login = {"ROOT_ACCESS_KEY_ID": options.access_key, "ROOT_SECRET_ACCESS_KEY": options.secret_key}
    with (folder / "log").open("wb") as log, running(command, login, log) as process:
        wait_for(f"{options.endpoint}/health", process, folder / "log")
        yield options


@contextmanager
def minio(folder: Path) -> Iterator[StorageOptions]:
    """A running MinIO over a folder, and how it is reached."""
    program = go_binary("minio", MINIO)
    folder.mkdir(parents=True, exist_ok=True)
    options = StorageOptions(
        f"http://127.0.0.1:{free_port()}", "us-east-1", f"test{secrets.token_hex(6)}", secrets.token_hex(20)
    )
    command = [str(program), "server", str(folder.absolute() / "data")]
    command += ["--address", options.endpoint.removeprefix("http://"), "--quiet"]
    login = {"MINIO_ROOT_USER": options.access_key, "MINIO_ROOT_PASSWORD": options.secret_key, "MINIO_BROWSER": "off"}
    with (folder / "log").open("wb") as log, running(command, login, log) as process:
        wait_for(f"{options.endpoint}/minio/health/live", process, folder / "log")
        yield options


def make_bucket(options: StorageOptions) -> str:
    """A new bucket's name."""
    name = f"bucket-{secrets.token_hex(6)}"
    client = Minio(
        options.endpoint.removeprefix("http://"), options.access_key, options.secret_key,
        secure=False, region=options.region,
    )  # fmt: skip
    client.make_bucket(name)
    return name


@contextmanager
def running(command: list[str], login: dict[str, str], log: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process with ``login`` in its environment, which writes to ``log``; ended when the block is left."""
    process = subprocess.Popen(command, env=os.environ | login, stdout=log, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until ``url`` answers 200. Fails when the process ends or takes too long."""
    http = urllib3.PoolManager(retries=False, timeout=2)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if http.request("GET", url).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    said = log.read_text(errors="replace")[-500:]
    pytest.fail(
        f"{url} did not answer in {_START_SECONDS} s (exit code {process.poll()}). It said: {said}", pytrace=False
    )
