"""Downloads from a real local server that cuts, lies, refuses and changes its mind."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from darkroom.errors import InvalidRequest, SourceError, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.sources import ArchiveSource, fetch
from darkroom.sources.download import TRIES, Download
from darkroom.storage import Storage

pytestmark = pytest.mark.unit


@dataclass
class Behaviour:
    """What the server does; tests change it while it runs."""

    data: bytes
    etag: str | None = '"one"'
    date: str | None = "Wed, 01 Jan 2020 00:00:00 GMT"
    ranges: bool = True
    head: int = 200
    get: list[int] = field(default_factory=list)  # status codes of the first answers
    cut_after: list[int] = field(default_factory=list)  # bytes of each answer before the connection ends
    extra_length: int = 0  # how far Content-Length is off
    say_length: bool = True
    login: str | None = None
    redirect: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # method, Range
    authorizations: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Serves one file at every path."""

    def __init__(self, behaviour: Behaviour, *arguments: object) -> None:
        self.behaviour = behaviour
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        b = self.behaviour
        b.requests.append((self.command, self.headers.get("Range")))
        b.authorizations.append(self.headers.get("Authorization"))
        if b.redirect:
            self.send_response(302)
            self.send_header("Location", b.redirect)
            self.end_headers()
            return
        status = b.head if not body else (b.get.pop(0) if b.get else 200)
        if b.login and self.headers.get("Authorization") != f"Basic {base64.b64encode(b.login.encode()).decode()}":
            status = 401
        if status != 200:
            self.send_error(status)
            return
        start = 0
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if wanted and b.ranges and condition in (None, b.etag, b.date):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(b.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(b.data)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(b.data) - 1}/{len(b.data)}")
        if b.say_length:
            self.send_header("Content-Length", str(len(b.data) - start + b.extra_length))
        for name, value in (("ETag", b.etag), ("Last-Modified", b.date)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if body:
            end = start + b.cut_after.pop(0) if b.cut_after else len(b.data)
            self.wfile.write(b.data[start:end])
            self.wfile.flush()


@pytest.fixture
def archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as opened:
        for number in range(40):
            opened.writestr(f"train/{'cat' if number % 2 else 'dog'}/{number}.jpg", bytes([number]) * 25_000)
    return sink.getvalue()


def serve(behaviour: Behaviour) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, behaviour)) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def server(archive: bytes) -> Behaviour:
    return Behaviour(archive)


@pytest.fixture
def url(server: Behaviour) -> Iterator[str]:
    yield from (f"{address}/some/pets.zip" for address in serve(server))


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home" / "downloads"
    get_settings.cache_clear()


def download(url: str, folder: Path, **options: float) -> tuple[bytes, list[str]]:
    said: list[str] = []
    with Download(url, folder, 10**9, pause=0.01, **options).file(said.append) as file:
        return file.read_bytes(), said


def it_fetches_an_archive_once_and_cleans_up(url: str, server: Behaviour, downloads: Path, lake: Storage) -> None:
    first = fetch(ArchiveSource(url=url), "pets", lake)
    again = fetch(ArchiveSource(url=url), "pets", lake)
    assert (first.files, first.changed, again.changed) == (40, True, False)
    assert [method for method, _ in server.requests] == ["HEAD", "GET", "HEAD"]
    assert list(downloads.iterdir()) == []


def it_asks_nothing_of_the_server_when_the_checksum_is_known(url: str, server: Behaviour, lake: Storage) -> None:
    digest = hashlib.sha256(server.data).hexdigest()
    assert fetch(ArchiveSource(url=url, sha256=digest), "pets", lake).changed
    asked = len(server.requests)
    assert not fetch(ArchiveSource(url=url, sha256=digest), "pets", lake).changed
    assert len(server.requests) == asked


@pytest.mark.parametrize("silent", [{"etag": None, "date": None}, {"head": 405}, {"head": 500}])
def it_knows_the_bytes_again_where_the_server_says_nothing(
    silent: dict[str, object], url: str, server: Behaviour, lake: Storage
) -> None:
    for name, value in silent.items():
        setattr(server, name, value)
    assert fetch(ArchiveSource(url=url), "pets", lake).changed
    assert not fetch(ArchiveSource(url=url), "pets", lake).changed


@pytest.mark.parametrize(
    "validators", [('"one"', None), (None, "Wed, 01 Jan 2020 00:00:00 GMT"), ('W/"one"', "Wed, x")]
)
def it_resumes_after_a_cut(
    validators: tuple[str | None, str | None], url: str, server: Behaviour, downloads: Path
) -> None:
    server.etag, server.date = validators
    server.cut_after = [300_000, 400_000]
    data, said = download(url, downloads)
    assert data == server.data
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-", "bytes=700000-"]
    assert "trying again" in said[0]


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None, "date": None}, {"etag": 'W/"w"', "date": None}])
def it_starts_anew_where_resuming_is_not_safe(
    change: dict[str, object], url: str, server: Behaviour, downloads: Path
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    server.cut_after = [300_000, 400_000]
    assert download(url, downloads)[0] == server.data


def it_resumes_what_an_earlier_run_left(url: str, server: Behaviour, downloads: Path) -> None:
    server.cut_after = [300_000] + [0] * 20
    with pytest.raises(StorageUnavailable, match=r"Tried 5 times; 300,000 of 1,004,\d+ bytes are here"):
        download(url, downloads)
    server.cut_after = []
    assert download(url, downloads)[0] == server.data
    assert server.requests[-1] == ("GET", "bytes=300000-")
    assert list(downloads.iterdir()) == []


def it_never_joins_parts_of_two_files(url: str, server: Behaviour, downloads: Path) -> None:
    server.cut_after = [300_000] + [0] * 20
    with pytest.raises(StorageUnavailable):
        download(url, downloads)
    server.cut_after = []
    server.data, server.etag, server.date = server.data[::-1] + b"more", '"two"', "Thu, 02 Jan 2020 00:00:00 GMT"
    assert download(url, downloads)[0] == server.data


def it_keeps_a_complete_file_when_the_lake_fails_afterwards(url: str, server: Behaviour, downloads: Path) -> None:
    with pytest.raises(StorageUnavailable), Download(url, downloads, 10**9).file(print):
        raise StorageUnavailable("the lake is down")
    assert download(url, downloads)[0] == server.data
    assert server.requests[-1] == ("GET", f"bytes={len(server.data)}-")


def it_gives_up_after_a_bounded_number_of_tries(url: str, server: Behaviour, downloads: Path) -> None:
    server.get = [503] * 50
    with pytest.raises(StorageUnavailable, match=f"503 Service Unavailable. Tried {TRIES} times"):
        download(url, downloads)
    assert len(server.requests) == TRIES
    server.get = [503, 429]
    assert download(url, downloads)[0] == server.data


def it_names_an_address_that_does_not_answer(downloads: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"http://127.0.0.1:9/a.zip .*Connection refused.* Tried 5 times"):
        download("http://127.0.0.1:9/a.zip", downloads)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def it_does_not_try_again_what_is_refused(
    code: int, url: str, server: Behaviour, downloads: Path, lake: Storage
) -> None:
    server.get, server.head = [code] * 9, code
    with pytest.raises(SourceError, match=f"the server answered {code}"):
        download(url, downloads)
    assert len(server.requests) == 1
    with pytest.raises(SourceError, match=f"the server answered {code}"):
        fetch(ArchiveSource(url=url), "pets", lake)
    assert list(lake.list()) == []


def it_finds_out_a_server_that_announces_too_much(url: str, server: Behaviour, downloads: Path) -> None:
    server.extra_length = 1000
    assert download(url, downloads)[0] == server.data  # asked for the rest, it says that there is none
    server.ranges = False
    with pytest.raises(StorageUnavailable, match="did not give the whole file"):
        download(url, downloads)


def it_finds_out_a_server_that_announces_too_little(
    url: str, server: Behaviour, downloads: Path, lake: Storage
) -> None:
    server.extra_length = -1000
    with pytest.raises(SourceError, match="is damaged"):
        fetch(ArchiveSource(url=url), "pets", lake)
    assert list(lake.list()) == []
    assert list(downloads.iterdir()) == []


def it_takes_an_answer_without_a_length(url: str, server: Behaviour, downloads: Path) -> None:
    server.say_length = False
    assert download(url, downloads)[0] == server.data


@pytest.mark.parametrize("say_length", [True, False])
def it_refuses_a_file_beyond_the_limit(say_length: bool, url: str, server: Behaviour, downloads: Path) -> None:
    server.say_length = say_length
    with pytest.raises(SourceError, match="DARKROOM_MAX_ARCHIVE_BYTES"), Download(url, downloads, 500_000).file(print):
        pass
    assert list(downloads.iterdir()) == []


def it_fetches_anew_after_a_wrong_checksum(url: str, server: Behaviour, downloads: Path, lake: Storage) -> None:
    with pytest.raises(SourceError, match="was expected"):
        fetch(ArchiveSource(url=url, sha256="0" * 64), "pets", lake)
    assert list(downloads.iterdir()) == []
    assert list(lake.list()) == []


def it_logs_in_and_shows_no_secret(url: str, server: Behaviour, lake: Storage) -> None:
    server.login = "zoe:pass word"
    private = url.replace("http://", "http://zoe:pass%20word@") + "?token=hidden"
    said: list[str] = []
    fetch(ArchiveSource(url=private), "pets", lake, said.append)
    stored = b"".join(lake.read(blob.path) for blob in lake.list("raw/pets/receipts"))
    with pytest.raises(SourceError) as raised:
        fetch(ArchiveSource(url=private.replace("pass", "wrong")), "pets", lake)
    for text in ("\n".join(said), stored.decode(), raised.value.message):
        for secret in ("zoe", "pass", "wrong", "hidden"):
            assert secret not in text.replace("user:password", "")


def it_follows_a_redirect_without_the_login(url: str, server: Behaviour, archive: bytes, downloads: Path) -> None:
    for address in serve(Behaviour(b"", redirect=url)):
        assert download(address.replace("http://", "http://ann:secret@"), downloads)[0] == archive
    assert server.authorizations == [None]


def it_lets_two_fetches_of_one_address_wait_for_each_other(url: str, server: Behaviour, downloads: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(download(url, downloads)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [server.data] * 4
    assert list(downloads.iterdir()) == []


@pytest.mark.parametrize("address", ["http://", "http:///a.zip", "http://host:port/a.zip", "http://[1/a.zip"])
def it_explains_an_address_that_is_none(address: str, lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match="Expected"):
        fetch(ArchiveSource(url=address), "pets", lake)


def it_quotes_addresses_with_spaces_and_accents(url: str, server: Behaviour, downloads: Path) -> None:
    assert download(url.replace("pets", "mes données/chats et chiens"), downloads)[0] == server.data
