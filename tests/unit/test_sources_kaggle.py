"""Datasets of Kaggle: through Kaggle's own client to a stand-in of its API and its file store."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from darkroom.errors import DarkroomError, InvalidRequest, SourceError, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.sources import FetchResult, KaggleSource, fetch
from darkroom.storage import Storage
from tests.suites.kaggle import API, STORE, Kaggle, kaggle

pytestmark = pytest.mark.unit

FILES = {"train/cat/1.jpg": b"one" * 40_000, "train/dog/2.jpg": b"two" * 40_000}
TOKEN = "KGAT_0123456789abcdef"


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    with kaggle(tmp_path / "server", {1: zipped({"old/1.jpg": b"old"}), 2: zipped(FILES)}) as found:
        for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{found.port}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(found.certificate))
        monkeypatch.setenv("SSL_CERT_FILE", str(found.certificate))
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
        monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "darkroom"))
        get_settings.cache_clear()
        yield found
    get_settings.cache_clear()


def take(lake: Storage, handle: str = "ann/pets", said: list[str] | None = None) -> FetchResult:
    return fetch(KaggleSource(handle=handle), "pets", lake, (said if said is not None else []).append)


def contents(lake: Storage, result: FetchResult) -> dict[str, bytes]:
    rows = pq.read_table(io.BytesIO(lake.read(result.index_path))).to_pylist()
    return {row["path"]: lake.read(row["uri"]) for row in rows}


def left_over(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "darkroom").rglob("*") if path.is_file()]


def kept(lake: Storage) -> str:
    """All that the lake holds besides the images."""
    return "".join(repr(lake.read(b.path)) for b in lake.list("raw/pets") if "/blobs/" not in b.path)


def it_takes_the_newest_version_and_asks_once_the_second_time(server: Kaggle, lake: Storage, tmp_path: Path) -> None:
    said: list[str] = []
    first = take(lake, said=said)
    assert contents(lake, first) == FILES
    assert first.changed
    assert left_over(tmp_path) == []
    server.asked.clear()
    again = take(lake, said=said)
    assert (again.changed, again.index_id) == (False, first.index_id)
    assert [what for _, what, _ in server.asked] == ["GetDataset"]
    assert "nothing changed" in said[-1]
    assert not [secret for secret in (TOKEN, "signature=") if secret in "".join(said) + kept(lake)]
    assert not any(path.name.startswith("kagglehub") for path in (tmp_path / "home").rglob("*"))


def it_sends_the_login_to_the_api_alone(server: Kaggle, lake: Storage) -> None:
    take(lake)
    assert {(host, login) for host, _, login in server.asked} == {(API, f"Bearer {TOKEN}"), (STORE, None)}


def it_takes_a_named_version_and_asks_nothing_the_second_time(server: Kaggle, lake: Storage) -> None:
    assert contents(lake, take(lake, "ann/pets/versions/1")) == {"old/1.jpg": b"old"}
    server.asked.clear()
    assert not take(lake, "ann/pets/versions/1").changed
    assert server.asked == []


def it_finds_a_new_version_and_knows_equal_bytes_under_a_new_number(server: Kaggle, lake: Storage) -> None:
    first = take(lake)
    server.archives[3] = server.archives[2]
    same = take(lake)
    assert (same.changed, same.index_id) == (False, first.index_id)
    server.archives[4] = zipped({**FILES, "train/cat/3.jpg": b"three"})
    assert take(lake).files == 3


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (401, InvalidRequest, r"refused the login \(401\)\. Correct KAGGLE_API_TOKEN"),
        (403, SourceError, r"may not be read \(403\): it is private"),
        (404, SourceError, r"is not there \(404\)\. Expected owner/dataset"),
        (400, SourceError, "answered 400"),
    ],
)
@pytest.mark.parametrize("handle", ["ann/pets", "ann/pets/versions/2"])
def it_says_in_one_sentence_what_was_refused(
    status: int, kind: type[DarkroomError], sentence: str, handle: str, server: Kaggle, lake: Storage
) -> None:
    server.refuse = [(status, "{}")]
    with pytest.raises(kind, match=f"The Kaggle dataset {handle}.*{sentence}") as caught:
        take(lake, handle)
    assert TOKEN not in str(caught.value)
    assert len(server.asked) == 1
    assert list(lake.list("raw")) == []


def it_reads_a_refusal_in_the_body_of_a_success(server: Kaggle, lake: Storage) -> None:
    server.refuse = [(200, '{"code": 403, "message": "Permission denied"}')]
    with pytest.raises(SourceError, match=r"may not be read \(403\)"):
        take(lake)


def it_tries_again_while_kaggle_is_busy_and_gives_up(server: Kaggle, lake: Storage) -> None:
    server.refuse = [(503, "")] * 2
    assert take(lake).files == 2
    server.refuse = [(503, "")] * 50
    with pytest.raises(StorageUnavailable, match=r"busy \(503\)"):
        take(lake)
    server.refuse = [(200, "{")]
    with pytest.raises(StorageUnavailable, match="JSONDecodeError"):
        take(lake)


def it_shows_no_signed_address_when_the_store_fails(
    server: Kaggle, lake: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    server.store_broken = True
    with pytest.raises(StorageUnavailable, match="Kaggle did not answer") as caught:
        take(lake)
    assert server.count("bytes") == 1
    assert "signature=" not in str(caught.value) + caplog.text


def it_says_that_kaggle_does_not_answer(server: Kaggle, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(StorageUnavailable, match="Kaggle did not answer"):
        take(lake)


def it_resumes_after_a_cut(server: Kaggle, lake: Storage, caplog: pytest.LogCaptureFixture) -> None:
    server.cut_after = [100_000]
    said: list[str] = []
    assert contents(lake, take(lake, said=said)) == FILES
    assert "signature=" not in "".join(said) + caplog.text
    assert server.count("bytes bytes=100000-") == 1


def it_goes_on_in_the_next_run_under_another_address(server: Kaggle, lake: Storage, tmp_path: Path) -> None:
    server.cut_after, server.store_status = [100_000], [200, 403]
    with pytest.raises(StorageUnavailable, match="403 Forbidden to the signed address"):
        take(lake)
    assert left_over(tmp_path)
    assert list(lake.list("raw")) == []
    assert contents(lake, take(lake)) == FILES
    assert server.count("bytes bytes=100000-") == 2  # the one that was refused, and the next run's
    assert left_over(tmp_path) == []


def it_compares_the_checksum_that_the_store_announces(server: Kaggle, lake: Storage) -> None:
    server.md5 = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    with pytest.raises(StorageUnavailable, match="arrived damaged"):
        take(lake)
    assert list(lake.list("raw")) == []
    server.md5 = base64.b64encode(hashlib.md5(server.archives[2]).digest()).decode()
    assert contents(lake, take(lake)) == FILES


def _linked() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        link = tarfile.TarInfo("cat/1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (zipped(FILES)[:100_000], "Expected a complete zip"),
        (zipped({"../../evil.jpg": b"x"}), "'..' in its path"),
        (zipped({"/etc/evil.jpg": b"x"}), "absolute path"),
        (_linked(), "leads out of the archive"),
        (b"<html>sign in</html>", "Expected a complete zip"),
    ],
)
def it_refuses_a_broken_or_unsafe_archive_as_a_whole(
    data: bytes, sentence: str, server: Kaggle, lake: Storage, tmp_path: Path
) -> None:
    server.archives[3] = data
    with pytest.raises(SourceError, match=f"The Kaggle dataset ann/pets.*{sentence}"):
        take(lake)
    assert list(lake.list("raw")) == []
    assert left_over(tmp_path) == []


def it_refuses_an_archive_beyond_the_limit(server: Kaggle, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MAX_ARCHIVE_BYTES", "1000")
    get_settings.cache_clear()
    with pytest.raises(SourceError, match="DARKROOM_MAX_ARCHIVE_BYTES"):
        take(lake)
    assert server.count("bytes") == 2  # the address, and the headers of the transfer


def it_takes_the_login_from_a_file_of_mode_0600_only(
    server: Kaggle, lake: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    file = tmp_path / "home" / ".kaggle" / "kaggle.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"username": "ann", "key": "s3cret"}')
    file.chmod(0o644)
    with pytest.raises(InvalidRequest, match=r"kaggle\.json can be read by others.*chmod 600") as caught:
        take(lake)
    assert "s3cret" not in str(caught.value)
    file.chmod(0o600)
    take(lake)
    assert server.asked[0][2] == "Basic " + base64.b64encode(b"ann:s3cret").decode()
    file.write_text("{")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(file.parent))
    with pytest.raises(InvalidRequest, match="Invalid Kaggle credentials file"):
        take(lake)


def it_reads_public_datasets_without_a_login(server: Kaggle, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    assert contents(lake, take(lake)) == FILES
    assert {login for _, _, login in server.asked} == {None}
