"""Storage in a folder, and what every storage shares."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.settings import Settings, get_settings
from darkroom.storage import FolderStorage, HdfsStorage, S3Storage, Storage, StorageOptions, open_lake, open_storage
from tests.suites.storage import StorageSuite

pytestmark = pytest.mark.unit

OPTIONS = StorageOptions("http://127.0.0.1:9000", "eu-west-1", "the-access-key", "the-secret-key")


class TestFolder(StorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(str(tmp_path / "lake"))


def it_opens_a_folder_a_file_url_and_a_bucket(tmp_path: Path) -> None:
    assert open_storage(str(tmp_path)).uri("a") == f"{tmp_path}/a"
    assert open_storage(f"file://{tmp_path}/my%20lake").root == f"{tmp_path}/my lake"
    lake = open_storage("s3://bucket/some/prefix/", OPTIONS)
    assert isinstance(lake, S3Storage)
    assert (lake.root, lake.uri("a/b")) == ("s3://bucket/some/prefix", "s3://bucket/some/prefix/a/b")
    assert open_storage("s3://bucket", OPTIONS).uri("a/b") == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://host/x",
        "hdfs://",
        "hdfs:///x",
        "hdfs://u@host/x",
        "hdfs://host/a b",
        "hdfs://host/../x",
        "s3://",
        "s3:///x",
        "s3://B/x",
        "s3://bucket/../x",
        "s3://bucket?x",
    ],
)
def it_refuses_an_address_that_it_cannot_open(address: str) -> None:
    with pytest.raises(InvalidRequest, match="Expected"):
        open_storage(address, OPTIONS)


ENDPOINTS = pytest.mark.parametrize(
    "endpoint", ["host:9000", "ftp://host", "http://", "http://host/path", "http://u:pw@host", "http://h:x"]
)


@ENDPOINTS
def it_refuses_an_http_address_of_hdfs_that_is_none(endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="DARKROOM_HDFS_HTTP") as caught:
        HdfsStorage("hdfs://host:8020/lake", endpoint)
    assert "pw" not in str(caught.value)


def it_opens_hdfs_as_the_user_of_hadoop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_USER_NAME", "hadoop")
    lake = open_storage("hdfs://host:8020/data/lake/")
    assert isinstance(lake, HdfsStorage)
    assert (lake.root, lake.uri("a/b")) == ("hdfs://host:8020/data/lake", "hdfs://host:8020/data/lake/a/b")
    assert repr(lake) == "HdfsStorage('hdfs://host:8020/data/lake', 'http://host:9870', 'hadoop')"
    assert open_storage("hdfs://host").uri("a") == "hdfs://host/a"


@ENDPOINTS
def it_refuses_an_endpoint_that_is_no_address(endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="DARKROOM_S3_ENDPOINT") as caught:
        open_storage("s3://bucket", StorageOptions(endpoint, "us-east-1", "key", "secret"))
    assert "pw" not in str(caught.value)


def it_wants_a_login_for_a_bucket() -> None:
    with pytest.raises(InvalidRequest, match="DARKROOM_S3_SECRET_KEY"):
        open_storage("s3://bucket", StorageOptions("http://127.0.0.1:9000", "us-east-1", "key", ""))


def it_never_shows_the_keys() -> None:
    text = repr(OPTIONS) + str(OPTIONS) + repr(open_storage("s3://bucket", OPTIONS))
    assert "the-secret-key" not in text
    assert "the-access-key" not in text


def it_tells_delta_and_spark_how_to_reach_the_bucket() -> None:
    delta = OPTIONS.delta_options()
    assert delta["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert (delta["AWS_ALLOW_HTTP"], delta["aws_conditional_put"]) == ("true", "etag")
    spark = OPTIONS.spark_conf()
    assert spark["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:9000"
    assert spark["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"
    assert StorageOptions(region="eu-west-1").address == "https://s3.eu-west-1.amazonaws.com"


def it_takes_its_options_from_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(s3_endpoint="http://h:1", s3_access_key=SecretStr("a"), s3_secret_key=SecretStr("b"))
    assert StorageOptions.from_settings(settings) == StorageOptions("http://h:1", "us-east-1", "a", "b")
    monkeypatch.setenv("DARKROOM_LAKE", str(tmp_path / "here"))
    get_settings.cache_clear()
    try:
        assert open_lake() == FolderStorage(tmp_path / "here")
    finally:
        get_settings.cache_clear()


def it_never_lists_a_write_under_way(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("a/x", b"1")
    (tmp_path / "a" / ".tmp-123").write_bytes(b"half")
    (tmp_path / ".tmp-folder").mkdir()
    assert [blob.path for blob in storage.list()] == ["a/x"]
    assert storage.folders() == ["a"]


def it_tells_a_log_entry_under_way_from_one_that_landed(tmp_path: Path) -> None:
    """deltalake's own names, as a kill inside its commit leaves them in a folder and in HDFS."""
    storage, log = FolderStorage(tmp_path), "tables/x/_delta_log"
    landed = [f"{log}/{1:020d}.json", "inbox/pets/photo#1", "inbox/pets/.x.tmp.1"]
    under_way = [f"{log}/.{2:020d}.json.tmp.1", f"{log}/{2:020d}.json#1"]
    for path in landed + under_way:
        storage.write(path, b"1")
    assert sorted(blob.path for blob in storage.list()) == sorted(landed)
    assert sorted(blob.path for blob in storage.unfinished()) == under_way
    for blob in list(storage.unfinished()):
        storage.discard(blob)
    assert list(storage.unfinished()) == []


def it_removes_a_folder_with_its_last_file_and_keeps_the_root(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "lake")
    storage.write("a/b/c/x", b"1")
    storage.write("a/y", b"1")
    storage.delete("a/b/c/x")
    assert sorted(os.listdir(tmp_path / "lake" / "a")) == ["y"]
    storage.delete("a/y")
    assert os.listdir(tmp_path / "lake") == []


def it_follows_links_and_ends_on_a_loop(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"1")
    (tmp_path / "lake").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "lake" / "linked")
    os.symlink(tmp_path / "lake", tmp_path / "lake" / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "lake" / "dangling")
    assert [blob.path for blob in FolderStorage(tmp_path / "lake").list()] == ["linked/x"]


def it_says_that_a_file_stands_where_a_folder_should(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("a", b"1")
    storage.write("f/x", b"1")
    for path in ("a/b", "f", "n" * 300):
        with pytest.raises(InvalidRequest, match="Use another path"):
            storage.write(path, b"2")
    with pytest.raises(InvalidRequest, match="Use another path"):
        storage.create("a/b", b"2")
    assert [blob.path for blob in storage.list()] == ["a", "f/x"]


def _in_a_child(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def it_keeps_the_old_blob_when_the_disk_takes_no_more(tmp_path: Path) -> None:
    """A limit on the size of files, set in a child process, stands in for the full disk."""
    said = _in_a_child(
        "import resource, signal, sys\n"
        "from darkroom.storage import FolderStorage\n"
        "from darkroom.errors import StorageUnavailable\n"
        "storage = FolderStorage(sys.argv[1])\n"
        "storage.write('x', b'old')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for call in (storage.write, storage.create):\n"
        "    try:\n"
        "        call('x' if call == storage.write else 'y', b'n' * 5000)\n"
        "    except StorageUnavailable as error:\n"
        "        print(error)\n"
        "print(storage.read('x'), [blob.path for blob in storage.list()])\n",
        str(tmp_path),
    )
    assert said.count(f"Could not write {tmp_path}/") == 2
    assert "b'old' ['x']" in said
    assert os.listdir(tmp_path) == ["x"]


def it_says_that_it_may_not_write_or_read(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir(mode=0o700)
    (tmp_path / "lake" / "x").write_bytes(b"1")
    code = (
        "import os, sys\n"
        "from darkroom.storage import FolderStorage\n"
        "from darkroom.errors import StorageUnavailable\n"
        "os.chmod(sys.argv[1], 0o500 if os.geteuid() else 0o700)\n"
        "os.chmod(sys.argv[1] + '/x', 0)\n"
        "if not os.geteuid():\n"
        "    os.setuid(65534)\n"
        "storage = FolderStorage(sys.argv[1])\n"
        "calls = [lambda: storage.write('y', b'2'), lambda: storage.read('x'), lambda: storage.create('y', b'2')]\n"
        "for call in calls:\n"
        "    try:\n"
        "        call()\n"
        "    except StorageUnavailable as error:\n"
        "        print(error)\n"
    )
    said = _in_a_child(code, str(tmp_path / "lake"))
    assert said.count("Permission denied. Give this user the right to it") == 3, said


def it_names_the_reason_and_the_place_when_the_system_refuses(tmp_path: Path) -> None:
    from darkroom.storage.folder import _explained

    for number, advice in [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "right to it")]:
        error = _explained(OSError(number, os.strerror(number)), "write", f"{tmp_path}/x")
        assert isinstance(error, StorageUnavailable)
        assert advice in error.message
        assert f"{tmp_path}/x" in error.message
