"""Tables on real S3 servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from darkroom.errors import InvalidRequest, StorageUnavailable
from darkroom.storage import S3Storage, Storage, StorageOptions
from darkroom.tables import Table
from tests.integration.proxy import losing_answers
from tests.integration.servers import free_port
from tests.suites.retention import RetentionSuite
from tests.suites.rows import PARTITION, SPEC, rows
from tests.suites.tables import TableSuite

pytestmark = pytest.mark.integration


class TestTableOnS3(TableSuite):
    @pytest.fixture
    def storage(self, any_s3_lake: S3Storage) -> Storage:
        return any_s3_lake


class TestRetentionOnS3(RetentionSuite):
    @pytest.fixture
    def storage(self, any_s3_lake: S3Storage) -> Storage:
        return any_s3_lake


def it_knows_its_own_commit_when_the_answer_is_lost(any_s3_lake: S3Storage) -> None:
    table = Table(any_s3_lake, SPEC)
    for number in range(2):
        with losing_answers(any_s3_lake.options, lost=1, method=b"PUT", asked=b"%020d.json" % number) as (
            options,
            cut,
        ):
            through = Table(S3Storage(any_s3_lake.root, options), SPEC)
            assert through.commit(PARTITION, rows(number + 1), {"n": number}) == number
            assert cut() == 1
        assert (table.version(), table.read().num_rows, table.last_commit(PARTITION)) == (
            number,
            number + 1,
            {"n": number},
        )


def it_names_the_login_that_was_refused(any_s3_lake: S3Storage) -> None:
    for wrong in (
        replace(any_s3_lake.options, access_key="a-wrong-access-key"),
        replace(any_s3_lake.options, secret_key="a-wrong-secret-key"),
    ):
        table = Table(S3Storage(any_s3_lake.root, wrong), SPEC)
        for call in (table.version, table.read, lambda: table.commit(PARTITION, rows(1), {})):  # noqa: B023
            with pytest.raises(InvalidRequest, match="Check DARKROOM_S3_ACCESS_KEY") as caught:
                call()
            assert wrong.secret_key not in str(caught.value)


def it_names_the_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.storage.connection._PAUSE_SECONDS", 0.001)
    address = f"http://127.0.0.1:{free_port()}"
    table = Table(S3Storage("s3://bucket/lake", StorageOptions(address, "us-east-1", "key", "a-secret")), SPEC)
    with pytest.raises(StorageUnavailable, match="5 tries") as caught:
        table.read()
    assert address in str(caught.value)
