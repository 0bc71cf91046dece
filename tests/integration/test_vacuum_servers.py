"""The vacuum of a lake on real servers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from darkroom.lake_check import check_lake
from darkroom.storage import Storage
from darkroom.vacuum import vacuum_lake
from tests.suites.lakes import digests
from tests.suites.old_lake import GONE, NOW, fill_with_old

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("server", ["s3_lake", "minio_lake", "hdfs_lake"])
def it_removes_what_is_old_and_leaves_a_whole_lake(server: str, request: pytest.FixtureRequest) -> None:
    lake: Storage = request.getfixturevalue(server)
    fill_with_old(lake)
    before = digests(lake)
    assert list(vacuum_lake(lake, NOW - timedelta(days=1), dry_run=False)) == []
    told = list(vacuum_lake(lake, NOW + timedelta(days=1), dry_run=True))
    assert digests(lake) == before
    done = list(vacuum_lake(lake, NOW + timedelta(days=1), dry_run=False))
    assert Counter(one.kind for one in done) == GONE
    assert Counter(done) == Counter(told)
    assert [str(one) for one in check_lake(lake, lambda *_: None).findings] == []
