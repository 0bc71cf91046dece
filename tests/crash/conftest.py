"""The S3 server of the integration tests."""

from tests.integration.conftest import s3_server

__all__ = ["s3_server"]
