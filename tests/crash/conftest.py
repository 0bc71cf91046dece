"""The servers of the integration tests."""

from tests.integration.conftest import hdfs_server, minio_server, s3_server

__all__ = ["hdfs_server", "minio_server", "s3_server"]
