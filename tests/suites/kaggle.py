"""A stand-in for Kaggle: its API and its file store as two https hosts, reached through a proxy of this machine.

Kaggle's client speaks to its own hosts only. HTTPS_PROXY leads it here, and a certificate authority made for the test
lets it trust the answers, so that nothing of the client is replaced.
"""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

API, STORE = "api.kaggle.com", "storage.googleapis.com"
SERVICE = "/v1/datasets.DatasetApiService/"


@dataclass
class Kaggle:
    """What the stand-in does; tests change it while it runs. ``asked``: (host, what, Authorization) of each request."""

    archives: dict[int, bytes]  # version -> archive
    refuse: list[tuple[int, str]] = field(default_factory=list)  # status and body of the API's next answers
    cut_after: list[int] = field(default_factory=list)  # bytes of the store's next answers before the connection ends
    store_status: list[int] = field(default_factory=list)  # of the store's next answers to this client's own requests
    store_broken: bool = False  # it ends every connection without an answer
    md5: str = ""  # what the store announces
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0
    certificate: Path = Path()

    def count(self, what: str) -> int:
        return sum(what in asked for _, asked, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kaggle: Kaggle
    context: ssl.SSLContext
    host = ""

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_CONNECT(self) -> None:
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.close_connection = False  # though clients ask in HTTP/1.0
        self.connection: socket.socket = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")  # type: ignore[assignment]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        what = self.path.removeprefix(SERVICE)
        self.kaggle.asked.append((self.host, what, self.headers.get("Authorization")))
        if self.kaggle.refuse:
            status, body = self.kaggle.refuse.pop(0)
            self._send(status, body.encode(), {"Content-Type": "application/json" if body else "text/html"})
        elif (request["ownerSlug"], request["datasetSlug"]) != ("ann", "pets"):
            self._send(404, b'{"code": 404, "message": "Not found"}', {"Content-Type": "application/json"})
        elif what == "GetDataset":
            told: dict[str, Any] = {"ref": "ann/pets", "currentVersionNumber": max(self.kaggle.archives)}
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        else:
            place = f"https://{STORE}/bundle/{request['datasetVersionNumber']}.zip?signature={len(self.kaggle.asked)}"
            self._send(302, b"", {"Location": place})

    def do_GET(self) -> None:
        self.kaggle.asked.append((self.host, f"bytes {self.headers.get('Range')}", self.headers.get("Authorization")))
        if self.kaggle.store_broken:
            self.close_connection = True
            return
        data = self.kaggle.archives[int(self.path.rpartition("/")[2].partition(".")[0])]
        own = self.headers.get("User-Agent") == "darkroom"  # the transfer; Kaggle's client only follows to the address
        if own and self.kaggle.store_status and (status := self.kaggle.store_status.pop(0)) != 200:
            self._send(status, b"", {})
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": '"one"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.kaggle.md5:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={self.kaggle.md5}"
        cut = self.kaggle.cut_after.pop(0) if own and self.kaggle.cut_after else None
        self._send(206 if start else 200, data[start:], headers, cut)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # Kaggle's client leaves once it has the address
            self.wfile.write(body[:cut])
            self.wfile.flush()
        self.close_connection = cut is not None or self.close_connection
        if cut is not None:
            self.connection.close()


def _certificate(folder: Path) -> ssl.SSLContext:
    """A certificate for both hosts that signs itself, as ``folder``/ca.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(API), x509.DNSName(STORE)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = built.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@contextmanager
def kaggle(folder: Path, archives: dict[int, bytes]) -> Iterator[Kaggle]:
    """A running stand-in that knows the dataset ann/pets in these versions."""
    folder.mkdir()
    found = Kaggle(archives)
    handler = type("Handler", (_Handler,), {"kaggle": found, "context": _certificate(folder)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    found.port, found.certificate = server.server_address[1], folder / "ca.pem"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
