"""A lake on its way from a folder to S3, to HDFS, and back to a folder, by the command."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from darkroom.storage import FolderStorage, HdfsStorage, S3Storage
from darkroom.tables import Table
from tests.integration.hadoop import Hdfs
from tests.suites.lakes import darkroom, digests, fill
from tests.suites.rows import SPEC

pytestmark = pytest.mark.integration


def it_arrives_as_it_left(any_s3_lake: S3Storage, hdfs_lake: HdfsStorage, tmp_path: Path) -> None:
    options = any_s3_lake.options
    environment = {
        "DARKROOM_HOME": str(tmp_path / "home"),
        "DARKROOM_S3_ENDPOINT": options.endpoint,
        "DARKROOM_S3_ACCESS_KEY": options.access_key,
        "DARKROOM_S3_SECRET_KEY": options.secret_key,
        "DARKROOM_HDFS_HTTP": hdfs_lake.http,
    }
    first, last = FolderStorage(tmp_path / "first"), FolderStorage(tmp_path / "last")
    fill(first)
    lakes = [first, any_s3_lake, hdfs_lake, last]
    for source, target in pairwise(lakes):
        said = darkroom("lake", "copy", source.root, target.root, **environment)
        assert f"{len(digests(first))} files" in said
        assert "; 0 of them were there already" in said
        assert options.secret_key not in said
        assert "0 missing or damaged, 0 left over" in darkroom("lake", "check", target.root, **environment)
        assert Table(target, SPEC).read().equals(Table(first, SPEC).read())
        assert Table(target, SPEC).history() == Table(first, SPEC).history()
    assert digests(last) == digests(first)
    again = darkroom("lake", "copy", any_s3_lake.root, hdfs_lake.root, **environment)
    assert f"{len(digests(first))} of them were there already" in again
    lost = next(path for path in digests(first) if "/blobs/" in path)
    hdfs_lake.write(lost, b"x" + hdfs_lake.read(lost)[1:])
    assert f"wrong hash: {lost}" in darkroom("lake", "check", hdfs_lake.root, code=1, **environment)


def it_copies_between_two_servers(s3_lake: S3Storage, minio_lake: S3Storage, tmp_path: Path) -> None:
    s3_lake.write("reports/x", b"1")
    environment = {"DARKROOM_HOME": str(tmp_path)}
    for prefix, options in (("DARKROOM_FROM", s3_lake.options), ("DARKROOM", minio_lake.options)):
        environment |= {
            f"{prefix}_S3_ENDPOINT": options.endpoint,
            f"{prefix}_S3_ACCESS_KEY": options.access_key,
            f"{prefix}_S3_SECRET_KEY": options.secret_key,
        }
    darkroom("lake", "copy", s3_lake.root, minio_lake.root, **environment)
    assert minio_lake.read("reports/x") == b"1"


def it_copies_from_another_hdfs(hdfs_server: Hdfs, hdfs_lake: HdfsStorage, tmp_path: Path) -> None:
    hdfs_lake.write("reports/x", b"1")
    environment = {"DARKROOM_FROM_HDFS_HTTP": hdfs_server.http, "DARKROOM_HDFS_HTTP": "http://127.0.0.1:1"}
    darkroom("lake", "copy", hdfs_lake.root, str(tmp_path / "b"), DARKROOM_HOME=str(tmp_path), **environment)
    assert (tmp_path / "b" / "reports" / "x").read_bytes() == b"1"
