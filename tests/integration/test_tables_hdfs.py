"""Tables in a real HDFS."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from darkroom.storage import Blob, HdfsStorage, Storage
from darkroom.tables import Table
from tests.crash.points import Inside, run
from tests.crash.writes import WRITES
from tests.suites.retention import RetentionSuite
from tests.suites.rows import PARTITION, SPEC, rows
from tests.suites.tables import TableSuite

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.integration


class TestTableInHdfs(TableSuite):
    @pytest.fixture
    def storage(self, hdfs_lake: HdfsStorage) -> Storage:
        return hdfs_lake


class TestRetentionInHdfs(RetentionSuite):
    @pytest.fixture
    def storage(self, hdfs_lake: HdfsStorage) -> Storage:
        return hdfs_lake


def it_is_read_by_spark_without_more_jars(hdfs_lake: HdfsStorage, spark: SparkSession) -> None:
    from spark_apps.tables import read_table

    table = Table(hdfs_lake, SPEC)
    odd = {"dt": "a'b/c %=[x]*", "feed": "12e456"}
    for partition, many in ((PARTITION, 30), (odd, 4), (PARTITION, 20)):
        table.commit(partition, rows(many), {})
    frame = read_table(spark, table)
    assert sorted((row["dt"], row["feed"], row["key"]) for row in frame.collect()) == sorted(
        (values["dt"], values["feed"], f"a{number:05}")
        for values, many in ((PARTITION, 20), (odd, 4))
        for number in range(many)
    )


def it_finds_and_discards_what_a_commit_that_was_killed_left(hdfs_lake: HdfsStorage) -> None:
    write = WRITES["partition, replaced"]
    write.prepare(hdfs_lake)
    left: list[Blob] = []
    for number in count():
        killed = run("partition, replaced", hdfs_lake, inside=Inside(message=number)).killed
        left = list(hdfs_lake.unfinished())
        if left or not killed:
            break
    assert {blob.path.rpartition("/")[0] for blob in left} == {f"{SPEC.path}/_delta_log"}
    assert not {blob.path for blob in left} & {blob.path for blob in hdfs_lake.list()}
    for blob in left:
        hdfs_lake.discard(blob)
    assert list(hdfs_lake.unfinished()) == []
    write.act(hdfs_lake)
    assert write.look(hdfs_lake).num_rows == 50
