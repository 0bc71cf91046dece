"""Storage in a real HDFS."""

from __future__ import annotations

import pytest

from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.storage import HdfsStorage, Storage, StorageOptions
from tests.integration.proxy import losing_answers
from tests.integration.servers import free_port
from tests.suites.storage import CALLS, StorageSuite

pytestmark = pytest.mark.integration


class TestHdfs(StorageSuite):
    refused_names = ("a;b,c:d@e",)

    @pytest.fixture
    def storage(self, hdfs_lake: HdfsStorage) -> Storage:
        return hdfs_lake


def it_names_the_address_that_does_not_answer_and_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.storage.webhdfs._PAUSE_SECONDS", 0.001)
    address = f"http://127.0.0.1:{free_port()}"
    storage = HdfsStorage("hdfs://127.0.0.1:1/lake", address)
    for call in CALLS:
        with pytest.raises(StorageUnavailable, match=r"5 tries.*DARKROOM_HDFS_HTTP") as caught:
            call(storage)
        assert address in str(caught.value)


def it_says_that_the_address_is_no_hdfs(s3_server: StorageOptions) -> None:
    storage = HdfsStorage("hdfs://127.0.0.1:1/lake", s3_server.endpoint)
    for call in CALLS[:4]:
        with pytest.raises((InvalidRequest, StorageUnavailable), match=r"HDFS"):
            call(storage)


def it_names_the_user_who_may_not_write_or_read(hdfs_lake: HdfsStorage) -> None:
    hdfs_lake.write("x", b"old")
    stranger = HdfsStorage(hdfs_lake.root, hdfs_lake.http, "stranger")
    assert stranger.read("x") == b"old"
    for call in (
        lambda: stranger.write("x", b"new"),
        lambda: stranger.create("y", b"new"),
        lambda: stranger.delete("x"),
    ):
        with pytest.raises(InvalidRequest, match="The user stranger may not do this"):
            call()
    assert [(blob.path, hdfs_lake.read(blob.path)) for blob in hdfs_lake.list()] == [("x", b"old")]
    assert list(hdfs_lake.unfinished()) == []


def it_notices_that_a_blob_changed_while_it_was_read(hdfs_lake: HdfsStorage) -> None:
    hdfs_lake.write("x", b"a" * (9 * 2**20))
    with hdfs_lake.open("x") as stream:
        assert stream.read(10) == b"a" * 10
        hdfs_lake.write("x", b"b" * (9 * 2**20))
        stream.seek(8 * 2**20)
        with pytest.raises(StorageUnavailable, match="replaced or deleted while it was read"):
            stream.read(10)


def it_says_that_a_file_stands_where_a_folder_should(hdfs_lake: HdfsStorage) -> None:
    hdfs_lake.write("a", b"1")
    hdfs_lake.write("f/x", b"1")
    for path in ("a/b", "f", "n" * 300):
        with pytest.raises(InvalidRequest, match="Use another path"):
            hdfs_lake.write(path, b"2")
    with pytest.raises(InvalidRequest, match="Use another path"):
        hdfs_lake.create("a/b", b"2")
    assert not hdfs_lake.create("f", b"2")
    assert [blob.path for blob in hdfs_lake.list()] == ["a", "f/x"]


def it_removes_a_folder_with_its_last_file_and_keeps_the_root(hdfs_lake: HdfsStorage) -> None:
    above = HdfsStorage(hdfs_lake.root.rpartition("/")[0], hdfs_lake.http)
    hdfs_lake.write("a/b/c/x", b"1")
    hdfs_lake.write("a/y", b"1")
    hdfs_lake.delete("a/b/c/x")
    assert hdfs_lake.folders("a") == []
    hdfs_lake.delete("a/y")
    assert (hdfs_lake.folders(), above.folders()) == ([], ["lake"])


@pytest.mark.parametrize("overwrite", [False, True])
def it_keeps_its_win_when_the_answer_is_lost(hdfs_lake: HdfsStorage, overwrite: bool) -> None:
    def through(http: str, content: bytes) -> bool:
        storage = HdfsStorage(hdfs_lake.root, http)
        return storage.write("x", content).size == len(content) if overwrite else storage.create("x", content)

    options = StorageOptions(endpoint=hdfs_lake.http)
    with losing_answers(options, lost=1, asked=b"op=RENAME") as (lossy, cut):
        assert through(lossy.endpoint, b"mine")
        assert cut() == 1
    assert hdfs_lake.read("x") == b"mine"
    with losing_answers(options, lost=1, asked=b"op=RENAME") as (lossy, _):
        assert through(lossy.endpoint, b"another's") == overwrite
    assert hdfs_lake.read("x") == (b"another's" if overwrite else b"mine")
    assert [blob.path for blob in hdfs_lake.list()] == ["x"]
