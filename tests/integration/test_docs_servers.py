"""The commands of docs/s3.md and docs/hdfs.md do what the pages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.storage import HdfsStorage, S3Storage
from darkroom.tables import Table
from tests.suites.documents import ROOT, bash_blocks, run_commands
from tests.suites.rows import PARTITION, SPEC, rows

pytestmark = pytest.mark.integration


def it_finds_a_lake_on_s3_by_the_pages_settings(any_s3_lake: S3Storage, tmp_path: Path) -> None:
    Table(any_s3_lake, SPEC).commit(PARTITION, rows(3), {})
    options = any_s3_lake.options
    settings, certificates, policy, clean = bash_blocks("s3.md")
    assert "s3://my-bucket/lake" in settings
    assert "DARKROOM_S3_CA_FILE" in certificates  # tried with a real CA in test_faults_https.py
    shown = run_commands(policy.replace("infra/", f"{ROOT}/infra/"), tmp_path) + (tmp_path / "policy.json").read_text()
    assert "arn:aws:s3:::my-bucket/lake/" in shown
    commands = (settings + clean).replace("s3://my-bucket/lake", any_s3_lake.root)
    commands = commands.replace("http://127.0.0.1:9000", options.endpoint)
    keys = {"DARKROOM_S3_ACCESS_KEY": options.access_key, "DARKROOM_S3_SECRET_KEY": options.secret_key}
    said = run_commands(commands, tmp_path, **keys)
    assert f"{any_s3_lake.root}: 2 files" in said
    assert "0 missing or damaged, 0 left over" in said
    assert "0 unfinished writes removed, 0 younger ones kept" in said


def it_finds_a_lake_in_hdfs_by_the_pages_settings(hdfs_lake: HdfsStorage, tmp_path: Path) -> None:
    Table(hdfs_lake, SPEC).commit(PARTITION, rows(3), {})
    (settings,) = bash_blocks("hdfs.md")
    commands = settings.replace("hdfs://127.0.0.1:8020/data/lake", hdfs_lake.root)
    said = run_commands(commands.replace("http://127.0.0.1:9870", hdfs_lake.http), tmp_path)
    assert f"{hdfs_lake.root}: 2 files" in said
    assert "0 missing or damaged, 0 left over" in said


def it_runs_hdfs_with_the_setting_that_the_page_recommends() -> None:
    name = "dfs.client.block.write.locateFollowingBlock.initial.delay.ms"
    assert f"<name>{name}</name><value>10</value>" in (ROOT / "docs" / "hdfs.md").read_text()
    assert f'"{name}": "10"' in (ROOT / "tests" / "integration" / "hadoop.py").read_text()
