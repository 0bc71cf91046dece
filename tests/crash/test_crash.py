"""A killed writer leaves nothing half-written, and a rerun gives the same as a run that was not killed."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest

from darkroom.storage import FolderStorage, HdfsStorage, S3Storage, StorageOptions
from tests.crash.campaign import KILLS, Fresh, Tell, kill, kill_at_messages, kill_within, points, sample
from tests.crash.writes import WRITES
from tests.integration.hadoop import Hdfs
from tests.integration.servers import make_bucket

COMMITS = [name for name in WRITES if not name.startswith("blob")]


@pytest.fixture
def fresh_folder(tmp_path: Path) -> Fresh:
    """The lake before goes: with one for each of some hundred kills, 6 GB would lie on the disk."""

    def fresh() -> FolderStorage:
        for before in tmp_path.iterdir():
            shutil.rmtree(before)
        return FolderStorage(tmp_path / secrets.token_hex(8))

    return fresh


@pytest.fixture
def fresh_prefix(s3_server: StorageOptions) -> Fresh:
    bucket = make_bucket(s3_server)
    return lambda: S3Storage(f"s3://{bucket}/{secrets.token_hex(8)}", s3_server)


@pytest.fixture
def fresh_on_minio(minio_server: StorageOptions) -> Fresh:
    bucket = make_bucket(minio_server)
    return lambda: S3Storage(f"s3://{bucket}/{secrets.token_hex(8)}", minio_server)


@pytest.fixture
def fresh_in_hdfs(hdfs_server: Hdfs) -> Fresh:
    return lambda: HdfsStorage(f"{hdfs_server.root}/{secrets.token_hex(8)}", hdfs_server.http)


SAMPLED = {"fresh_on_minio": (6, 4), "fresh_in_hdfs": (4, 9)}
"""Kills a write, and of how many messages inside its commit it is killed at one, by the server's fixture."""


@pytest.mark.unit
@pytest.mark.parametrize("name", WRITES)
def it_survives_a_kill_around_what_makes_a_write_visible(name: str, fresh_folder: Fresh, record_property: Tell) -> None:
    names = points(name, fresh_folder)
    turning = ("replace", "link", "create_table_with_add_actions", "create_write_transaction", "unlink")
    at = [number for number, point in enumerate(names) if point.endswith(turning)][-2:]
    at += [number for number, point in enumerate(names) if point == "half written"][-1:]
    assert kill(name, fresh_folder, at) == len(at) > 0
    record_property(KILLS, f"{name}: killed at {len(at)} of {len(names)} points")


@pytest.mark.crash
@pytest.mark.parametrize("name", WRITES)
def it_survives_a_kill_at_every_point_in_a_folder(name: str, fresh_folder: Fresh, record_property: Tell) -> None:
    names = points(name, fresh_folder)
    assert kill(name, fresh_folder, range(len(names))) == len(names) > 0
    record_property(KILLS, f"{name}, folder: killed at all of {len(names)} points")


@pytest.mark.crash
@pytest.mark.parametrize("name", COMMITS)
def it_survives_an_end_inside_the_commit_in_a_folder(name: str, fresh_folder: Fresh, record_property: Tell) -> None:
    killed = kill_within(name, fresh_folder, 0.0004)
    assert killed > 0
    record_property(KILLS, f"{name}, folder: ended at {killed} moments inside the commit")


@pytest.mark.crash
@pytest.mark.parametrize("name", WRITES)
def it_survives_a_kill_at_every_point_on_s3(name: str, fresh_prefix: Fresh, record_property: Tell) -> None:
    names = points(name, fresh_prefix)
    assert kill(name, fresh_prefix, range(len(names))) == len(names) > 0
    record_property(KILLS, f"{name}, S3: killed at all of {len(names)} points")


@pytest.mark.crash
@pytest.mark.parametrize("name", COMMITS)
def it_survives_a_kill_at_every_message_of_the_commit_on_s3(
    name: str, fresh_prefix: Fresh, record_property: Tell
) -> None:
    killed = kill_at_messages(name, fresh_prefix)
    assert killed > 0
    record_property(KILLS, f"{name}, S3: killed at all of {killed} messages of the commit")


@pytest.mark.crash
@pytest.mark.parametrize("server", SAMPLED, ids=["minio", "hdfs"])
@pytest.mark.parametrize("name", WRITES)
def it_survives_a_kill_at_sampled_points_on_other_servers(
    name: str, server: str, request: pytest.FixtureRequest, record_property: Tell
) -> None:
    fresh: Fresh = request.getfixturevalue(server)
    names = points(name, fresh)
    at = sample(len(names), SAMPLED[server][0])
    assert kill(name, fresh, at) == len(at) > 0
    record_property(KILLS, f"{name}, {server}: killed at {len(at)} of {len(names)} points")


@pytest.mark.crash
@pytest.mark.parametrize("server", SAMPLED, ids=["minio", "hdfs"])
@pytest.mark.parametrize("name", COMMITS)
def it_survives_a_kill_at_sampled_messages_of_the_commit_on_other_servers(
    name: str, server: str, request: pytest.FixtureRequest, record_property: Tell
) -> None:
    killed = kill_at_messages(name, request.getfixturevalue(server), SAMPLED[server][1])
    assert killed > 0
    record_property(KILLS, f"{name}, {server}: killed at {killed} messages of the commit")
