"""Inboxes on a real S3 server."""

from __future__ import annotations

import pytest

from darkroom.storage import S3Storage
from tests.suites.inboxes import InboxSuite

pytestmark = pytest.mark.integration


@pytest.fixture
def lake(s3_lake: S3Storage) -> S3Storage:
    return s3_lake


class TestInboxOnAnObjectStore(InboxSuite):
    pass
