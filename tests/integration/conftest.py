"""Servers that integration tests share, started once a session."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from darkroom.storage import HdfsStorage, S3Storage, StorageOptions
from tests.integration.hadoop import Hdfs, hdfs
from tests.integration.servers import make_bucket, minio, versitygw


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageOptions]:
    """A real S3 server."""
    with versitygw(tmp_path_factory.mktemp("versitygw")) as options:
        yield options


@pytest.fixture
def s3_lake(s3_server: StorageOptions) -> S3Storage:
    """An empty lake below a prefix of a bucket of its own."""
    return S3Storage(f"s3://{make_bucket(s3_server)}/some/lake", s3_server)


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageOptions]:
    """A real S3 server of another make."""
    with minio(tmp_path_factory.mktemp("minio")) as options:
        yield options


@pytest.fixture(params=["s3_server", "minio_server"], ids=["versitygw", "minio"])
def any_s3_lake(request: pytest.FixtureRequest) -> S3Storage:
    """An empty lake below a prefix of a bucket of its own, on each S3 server in turn."""
    options = request.getfixturevalue(request.param)
    return S3Storage(f"s3://{make_bucket(options)}/some/lake", options)


@pytest.fixture(scope="session")
def hdfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    """A real HDFS."""
    with hdfs(tmp_path_factory.mktemp("hdfs")) as found:
        yield found


@pytest.fixture
def hdfs_lake(hdfs_server: Hdfs) -> HdfsStorage:
    """An empty lake in a folder of its own."""
    return HdfsStorage(f"{hdfs_server.root}/{secrets.token_hex(6)}/lake", hdfs_server.http)


@pytest.fixture
def minio_lake(minio_server: StorageOptions) -> S3Storage:
    """An empty lake on the other S3 server."""
    return S3Storage(f"s3://{make_bucket(minio_server)}/some/lake", minio_server)
