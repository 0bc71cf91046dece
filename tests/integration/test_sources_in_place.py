"""Images that stay on a real S3 server, with a lake on it, and in a real HDFS, with a lake in a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from darkroom.settings import get_settings
from darkroom.storage import HdfsStorage, S3Storage, StorageOptions
from tests.integration.hadoop import Hdfs
from tests.integration.servers import make_bucket
from tests.suites.in_place import InPlaceSuite

pytestmark = pytest.mark.integration


class TestInPlaceOnAnObjectStore(InPlaceSuite):
    @pytest.fixture
    def source(self, s3_server: StorageOptions, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Storage]:
        monkeypatch.setenv("DARKROOM_S3_ENDPOINT", s3_server.endpoint)
        monkeypatch.setenv("DARKROOM_S3_ACCESS_KEY", s3_server.access_key)
        monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", s3_server.secret_key)
        get_settings.cache_clear()
        yield S3Storage(f"s3://{make_bucket(s3_server)}/photos", s3_server)
        get_settings.cache_clear()

    @pytest.fixture
    def lake(self, s3_lake: S3Storage) -> S3Storage:
        return s3_lake


class TestInPlaceInHdfs(InPlaceSuite):
    @pytest.fixture
    def source(
        self, hdfs_server: Hdfs, hdfs_lake: HdfsStorage, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[HdfsStorage]:
        monkeypatch.setenv("DARKROOM_HDFS_HTTP", hdfs_server.http)
        get_settings.cache_clear()
        yield hdfs_lake
        get_settings.cache_clear()
