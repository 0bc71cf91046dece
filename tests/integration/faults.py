"""What goes wrong, made on purpose: full and read-only disks, servers that die, certificates of a private CA."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from darkroom.settings import get_settings
from darkroom.storage import StorageOptions
from infra.binaries import VERSITYGW
from tests.integration.servers import free_port, go_binary, left_out, running, wait_for

_ENOUGH_SECONDS = 60


class SmallDisk:
    """A file system of a few MiB in memory, mounted at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = str(folder / "lake")

    def fill(self, leave: int) -> None:
        """Takes all room but about ``leave`` bytes."""
        with (self.folder / "filler").open("ab") as filler:
            while (free := self._free()) > leave:
                filler.write(bytes(min(free - leave, 1 << 20)))
                filler.flush()

    def make_room(self) -> None:
        (self.folder / "filler").unlink()

    def remount(self, mode: str) -> None:
        """``ro`` or ``rw``."""
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)

    def _free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """A small disk; the test is left out where none can be mounted."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        refused = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        refused = str(error)
    if refused:
        left_out("Tests on a small disk", f"it cannot be mounted ({refused}). Run them as root.")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass(frozen=True)
class Certificate:
    """PEM files: a server's certificate and key for 127.0.0.1, and the private CA that signed it."""

    certificate: Path
    key: Path
    ca: Path


def private_ca(folder: Path) -> Certificate:
    """A new CA and a server's certificate by it. The CA's file names an unrelated CA first."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Certificate(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.BasicConstraints(ca=True, path_length=None)
    ca = _signed("The house's CA", ca_key, "The house's CA", ca_key, authority)
    other = _signed("Another CA", key, "Another CA", key, authority)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    found.ca.write_bytes(_pem(other) + _pem(ca))
    found.certificate.write_bytes(_pem(_signed("server", key, "The house's CA", ca_key, here)))
    plain = serialization.NoEncryption()
    found.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return found


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: str,
    signing: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, signer)]
    builder = x509.CertificateBuilder(named[1], named[0], key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    return builder.add_extension(extension, critical=False).sign(signing, hashes.SHA256())


class Gateway:
    """A versitygw that can be killed and started again on its port and folder."""

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        self._program = go_binary("versitygw", VERSITYGW)
        self.folder = folder
        (folder / "root").mkdir(parents=True)
        scheme = "https" if certificate else "http"
        self._port = free_port()
        ca = certificate.ca.read_text() if certificate else ""
        login = (f"test{secrets.token_hex(6)}", secrets.token_hex(20))
        self.options = StorageOptions(f"{scheme}://127.0.0.1:{self._port}", "us-east-1", *login, ca)
        self._tls = ["--cert", str(certificate.certificate), "--key", str(certificate.key)] if certificate else []
        self._up = ExitStack()

    def start(self) -> None:
        command = [str(self._program), "--port", f"127.0.0.1:{self._port}", *self._tls, "--keep-alive", "--quiet"]
        command += ["posix", str(self.folder.absolute() / "root")]
        login = {"ROOT_ACCESS_KEY_ID": self.options.access_key, "ROOT_SECRET_ACCESS_KEY": self.options.secret_key}
        log = self._up.enter_context((self.folder / "log").open("ab"))
        self._process = self._up.enter_context(running(command, login, log))
        wait_for_port(self._port, self._process)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._up.close()

    def stop(self) -> None:
        self._up.close()

    @contextmanager
    def outage(self, after: float, lasting: float) -> Iterator[None]:
        """Killed ``after`` seconds from now, and started again ``lasting`` seconds later, while the block runs."""
        thread = threading.Thread(target=self._die_and_return, args=(after, lasting))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _die_and_return(self, after: float, lasting: float) -> None:
        time.sleep(after)  # into the work
        self.kill()
        time.sleep(lasting)  # the outage
        self.start()


@contextmanager
def gateway(folder: Path, certificate: Certificate | None = None) -> Iterator[Gateway]:
    """A running Gateway."""
    server = Gateway(folder, certificate)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until something listens. Fails when the process ends or takes too long."""
    end = time.monotonic() + _ENOUGH_SECONDS
    while True:
        assert process.poll() is None, f"exit code {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nothing listens on port {port}"
            time.sleep(0.02)  # between two looks


class MlflowServer:
    """A real MLflow over files below ``folder`` that can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("ab") as log:
            quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
            self._process = psutil.Popen(command, env=os.environ | quiet, stdout=log, stderr=log)
        wait_for(f"{self.address}/health", self._process, self.folder / "log")

    def kill(self) -> None:
        """SIGKILL to it and its workers."""
        if self._process.is_running():
            family = [self._process, *self._process.children(recursive=True)]
            for one in family:
                one.kill()
            psutil.wait_procs(family, timeout=20)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A running MLflow."""
    server = MlflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def settings_of(**values: str) -> Iterator[None]:
    """The settings DARKROOM_<name> inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(f"DARKROOM_{name}", value)
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()
