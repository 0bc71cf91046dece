"""Storage on real S3 servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.storage import S3Storage, Storage, StorageOptions
from tests.integration.proxy import losing_answers
from tests.integration.servers import free_port
from tests.suites.storage import CALLS, StorageSuite

pytestmark = pytest.mark.integration


class TestS3(StorageSuite):
    @pytest.fixture
    def storage(self, any_s3_lake: S3Storage) -> Storage:
        return any_s3_lake


def it_names_the_login_that_was_refused_and_shows_no_secret(any_s3_lake: S3Storage) -> None:
    for wrong in (
        replace(any_s3_lake.options, access_key="a-wrong-access-key"),
        replace(any_s3_lake.options, secret_key="a-wrong-secret-key"),
    ):
        for call in CALLS:
            with pytest.raises(InvalidRequest, match="Check DARKROOM_S3_ACCESS_KEY") as caught:
                call(S3Storage(any_s3_lake.root, wrong))
            told = str(caught.value) + repr(caught.value.__cause__)
            assert wrong.secret_key not in told
            assert "Signature=" not in told
    assert list(any_s3_lake.list()) == []


def it_names_the_address_that_does_not_answer_and_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.storage.connection._PAUSE_SECONDS", 0.001)
    address = f"http://127.0.0.1:{free_port()}"
    storage = S3Storage("s3://bucket/lake", StorageOptions(address, "us-east-1", "key", "a-secret"))
    for call in CALLS:
        with pytest.raises(StorageUnavailable, match=r"5 tries.*Connection refused") as caught:
            call(storage)
        assert address in str(caught.value)
        assert "a-secret" not in str(caught.value)


def it_says_that_the_bucket_is_missing(any_s3_lake: S3Storage) -> None:
    storage = S3Storage("s3://no-such-bucket-here/lake", any_s3_lake.options)
    for call in CALLS:
        with pytest.raises(InvalidRequest, match="Create the bucket"):
            call(storage)


def it_notices_that_a_blob_changed_while_it_was_read(any_s3_lake: S3Storage) -> None:
    any_s3_lake.write("x", b"a" * (9 * 2**20))
    with any_s3_lake.open("x") as stream:
        assert stream.read(10) == b"a" * 10
        any_s3_lake.write("x", b"b" * (9 * 2**20))
        stream.seek(8 * 2**20)
        with pytest.raises(StorageUnavailable, match="Run it again"):
            stream.read(10)


def it_keeps_the_prefix_to_itself(any_s3_lake: S3Storage) -> None:
    beside = S3Storage(f"s3://{any_s3_lake.bucket}/some/lake-beside", any_s3_lake.options)
    whole = S3Storage(f"s3://{any_s3_lake.bucket}", any_s3_lake.options)
    any_s3_lake.write("x", b"1")
    beside.write("y", b"2")
    assert [blob.path for blob in any_s3_lake.list()] == ["x"]
    assert [blob.path for blob in whole.list()] == ["some/lake-beside/y", "some/lake/x"]
    assert whole.folders("some") == ["lake", "lake-beside"]
    assert whole.read("some/lake/x") == b"1"


def it_keeps_its_win_when_the_answer_is_lost(any_s3_lake: S3Storage) -> None:
    with losing_answers(any_s3_lake.options, lost=1) as (options, _):
        assert S3Storage(any_s3_lake.root, options).create("x", b"mine")
    assert any_s3_lake.read("x") == b"mine"
    with losing_answers(any_s3_lake.options, lost=1) as (options, _):
        assert not S3Storage(any_s3_lake.root, options).create("x", b"another's")
    assert any_s3_lake.read("x") == b"mine"


def it_reads_again_when_an_answer_breaks_off(any_s3_lake: S3Storage) -> None:
    data = bytes(range(256)) * 4096
    any_s3_lake.write("x", data)
    with losing_answers(any_s3_lake.options, lost=2, after=5_000) as (options, cut):
        assert S3Storage(any_s3_lake.root, options).read("x") == data
        assert cut() == 2
