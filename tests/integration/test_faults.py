"""A lake that takes no more: a full disk, a read-only folder, a login that may only read. Nothing half-done shows."""

from __future__ import annotations

import io
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from darkroom import champions
from darkroom.contract import examples_table, raw_index
from darkroom.eda import eda_dataset
from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.outcome import as_darkroom_error
from darkroom.sources import FolderSource, PhantomSource, fetch
from darkroom.splitting_flow import split_dataset
from darkroom.storage import S3Storage, Storage, StorageOptions, open_storage
from darkroom.tables import Table
from spark_apps.arrivals import commit_predictions, plan_prediction
from spark_apps.jobs import preprocess as preprocess_job
from spark_apps.manifest import make_manifest, plan_manifest
from spark_apps.predict import predict_inbox
from spark_apps.preprocess import plan_preprocessing, preprocess
from tests.crash.jobs import JOBS, LAMPS
from tests.integration.faults import SmallDisk, gateway, settings_of, small_disk
from tests.integration.servers import make_bucket
from tests.packages import write_dataset
from tests.suites.lakes import digests
from tests.suites.rows import OTHER, PARTITION, SPEC, rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.integration, pytest.mark.faults]

POLICIES = Path(__file__).parents[2] / "infra/policies"
PHANTOMS = PhantomSource(images=12, size_range=(400, 420))
FULL = "The disk is full. Free some space and run it again"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as found:
        yield found


def it_keeps_the_old_blob_on_a_full_disk(disk: SmallDisk) -> None:
    lake = open_storage(disk.lake)
    lake.write("a/x", b"old")
    disk.fill(leave=64 * 1024)
    new = bytes(range(256)) * 4096
    for call in (
        lambda: lake.write("a/x", new),
        lambda: lake.write("a/x", io.BytesIO(new)),
        lambda: lake.create("a/y", new),
    ):
        with pytest.raises(StorageUnavailable, match=FULL):
            call()
    assert {blob.path: lake.read(blob.path) for blob in lake.list()} == {"a/x": b"old"}
    assert list(lake.unfinished()) == []
    disk.make_room()
    lake.write("a/x", new)
    assert lake.create("a/y", new)
    assert lake.read("a/x") == lake.read("a/y") == new


def it_goes_on_with_a_fetch_once_there_is_room(disk: SmallDisk, lake: Storage) -> None:
    expected = fetch(PHANTOMS, "phantom", lake)
    small = open_storage(disk.lake)
    disk.fill(leave=expected.bytes // 2)
    with pytest.raises(StorageUnavailable, match=FULL):
        fetch(PHANTOMS, "phantom", small)
    assert small.stat(raw_index("phantom", expected.index_id)) is None
    whole = digests(lake)
    assert 0 < len(digests(small)) < len(whole)
    assert digests(small).items() < whole.items()
    disk.make_room()
    assert fetch(PHANTOMS, "phantom", small) == expected
    assert digests(small) == whole


def it_names_the_temporary_folder_that_is_full(
    disk: SmallDisk, lake: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "large.tif").write_bytes(bytes(range(256)) * (17 * 2**12))  # 17 MiB
    source = FolderSource(uri=str(tmp_path / "photos"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    with pytest.raises(StorageUnavailable, match=r"large\.tif could not be kept .* set TMPDIR to a folder"):
        fetch(source, "cats", lake)
    assert list(lake.list("raw")) == []
    monkeypatch.undo()
    assert fetch(source, "cats", lake).files == 1


@pytest.mark.parametrize("leave", [16 * 1024, 0], ids=["data file", "log entry"])
def it_commits_nothing_on_a_full_disk(disk: SmallDisk, lake: Storage, leave: int) -> None:
    small = Table(open_storage(disk.lake), SPEC)
    for table in (small, Table(lake, SPEC)):
        table.commit(PARTITION, rows(10, "old"), {"n": 1})
    new = rows(20_000, "new")
    written = None if leave else [small.write_file(PARTITION, new)]
    disk.fill(leave)
    with pytest.raises(StorageUnavailable, match=FULL):
        small.commit(PARTITION, written or new, {"n": 2})
    assert (small.version(), small.last_commit(PARTITION)) == (0, {"n": 1})
    assert small.read() == Table(lake, SPEC).read()
    disk.make_room()
    for table in (small, Table(lake, SPEC)):
        assert table.commit(PARTITION, new, {"n": 2}) == 1
    assert small.read() == Table(lake, SPEC).read()


def it_ends_a_spark_job_on_a_full_disk_with_one_sentence(
    disk: SmallDisk, lake: Storage, spark: SparkSession, tmp_path: Path
) -> None:
    transforms = [{"width": 96, "height": 96, "color": "rgb"}]
    tables = []
    for at in (lake, open_storage(disk.lake)):
        request = write_dataset(at, LAMPS, [], train=30, other=10) | {"transforms": transforms}
        tables.append(Table(at, examples_table(LAMPS)))
    arguments = ["--request", json.dumps(request), "--outcome"]
    with settings_of(LAKE=lake.root):
        assert preprocess_job.main([*arguments, str(tmp_path / "expected")]) == 0
    with settings_of(LAKE=disk.lake):
        disk.fill(leave=256 * 1024)
        assert preprocess_job.main([*arguments, str(tmp_path / "full")]) == 1
        told = json.loads((tmp_path / "full" / "error.json").read_text())
        assert told["error"] == "StorageUnavailable"
        assert FULL in told["message"]
        assert len(told["message"].splitlines()) == 1
        assert tables[1].version() is None
        disk.make_room()
        assert preprocess_job.main([*arguments, str(tmp_path / "again")]) == 0
    assert tables[0].read() == tables[1].read()


def it_says_that_the_object_store_is_full(disk: SmallDisk) -> None:
    with gateway(disk.folder / "server") as server:
        lake = S3Storage(f"s3://{make_bucket(server.options)}/lake", server.options)
        table = Table(lake, SPEC)
        table.commit(PARTITION, rows(10, "old"), {})
        lake.write("a/x", b"old")
        disk.fill(leave=16 * 1024)
        new = bytes(range(256)) * 4096
        for call in (
            lambda: lake.write("a/x", new),
            lambda: lake.create("a/y", new),
            lambda: table.commit(PARTITION, rows(20_000, "new"), {}),
            lambda: (disk.fill(leave=0), table.commit(PARTITION, [], {})),  # the log entry is what finds no room
        ):
            with pytest.raises(StorageUnavailable, match=r"no room left.* Free some space there and run it again"):
                call()
        assert lake.read("a/x") == b"old"
        assert lake.stat("a/y") is None
        assert table.read().num_rows == 10
        disk.make_room()
        lake.write("a/x", new)
        table.commit(PARTITION, rows(20_000, "new"), {})
        assert lake.read("a/x") == new
        assert table.read().num_rows == 20_000


Requests = dict[str, Any]


def _prepare(lake: Storage) -> Requests:
    """Everything that the writing steps read, and the requests of the jobs among them."""
    requests = {name: JOBS[name].prepare(lake) for name in JOBS}
    Table(lake, SPEC).commit(PARTITION, rows(10), {})
    return requests


def _predict(lake: Storage, spark: SparkSession, requests: Requests) -> None:
    plan = plan_prediction(lake, requests["predict"])
    commit_predictions(plan, predict_inbox(spark, plan).pop("files"), {})


STEPS: dict[str, Callable[[Storage, Any, Requests], object]] = {
    "download": lambda lake, spark, of: fetch(PHANTOMS, "fresh", lake),
    "manifest": lambda lake, spark, of: make_manifest(spark, plan_manifest(lake, of["manifest"])),
    "split": lambda lake, spark, of: split_dataset(lake, {"dataset": LAMPS, "version": "v1"}),
    "preprocess": lambda lake, spark, of: preprocess(spark, plan_preprocessing(lake, of["preprocess"])),
    "predict": _predict,
    "commit without rows": lambda lake, spark, of: Table(lake, SPEC).commit(OTHER, [], {}),
    "champion": lambda lake, spark, of: champions.append(
        lake, "other", of["predict"]["champion"], now=datetime(2026, 1, 1, tzinfo=UTC)
    ),
    "report": lambda lake, spark, of: eda_dataset(lake, {"dataset": LAMPS, "version": "v1"}),
}


def _refusals(lake: Storage, spark: SparkSession, requests: Requests) -> dict[str, DarkroomError]:
    """What each writing step says, as its task would be told. Fails for a step that ends well."""
    told = {}
    for name, step in STEPS.items():
        try:
            step(lake, spark, requests)
        except Exception as error:  # noqa: BLE001 - what a Spark worker raised comes wrapped
            told[name] = as_darkroom_error(error)
    assert told.keys() == STEPS.keys()
    return told


def it_says_in_every_writing_step_that_the_folder_is_read_only(disk: SmallDisk, spark: SparkSession) -> None:
    lake = open_storage(disk.lake)
    requests = _prepare(lake)
    before = digests(lake)
    disk.remount("ro")
    for name, error in _refusals(lake, spark, requests).items():
        assert isinstance(error, StorageUnavailable), name
        assert "The file system is read-only. Point DARKROOM_LAKE to a folder that can be written" in error.message
        assert len(error.message.splitlines()) == 1
    assert digests(lake) == before
    assert list(lake.unfinished()) == []


def login(server: StorageOptions, bucket: str, prefix: str, policy: str) -> StorageOptions:
    """A new user of MinIO with one of the policies, filled in as docs/s3.md shows."""
    admin = MinioAdmin(
        endpoint=server.endpoint.removeprefix("http://"), secure=False, region=server.region,
        credentials=StaticProvider(server.access_key, server.secret_key),
    )  # fmt: skip
    text = (POLICIES / f"{policy}.json").read_text().replace("BUCKET", bucket).replace("PREFIX", prefix)
    user, secret, name = f"user{secrets.token_hex(6)}", secrets.token_hex(20), f"{policy}-{secrets.token_hex(6)}"
    admin.policy_add(name, policy=json.loads(text))
    admin.user_add(user, secret)
    admin.attach_policy([name], user)
    return replace(server, access_key=user, secret_key=secret)


def it_says_in_every_writing_step_that_the_login_may_only_read(
    minio_server: StorageOptions, spark: SparkSession
) -> None:
    bucket = make_bucket(minio_server)
    owner = S3Storage(f"s3://{bucket}/some/lake", minio_server)
    requests = _prepare(owner)
    before = digests(owner)
    reader = S3Storage(owner.root, login(minio_server, bucket, "some/lake", "read-only"))
    for name, error in _refusals(reader, spark, requests).items():
        assert isinstance(error, InvalidRequest), (name, error.message)
        assert "may not do this" in error.message, name
        assert "the rights" in error.message, name
        assert len(error.message.splitlines()) == 1
    assert digests(reader) == before
    assert Table(reader, SPEC).read() == Table(owner, SPEC).read()
    assert list(owner.unfinished()) == []


def it_does_everything_with_the_policy_that_may_write(minio_server: StorageOptions, spark: SparkSession) -> None:
    bucket = make_bucket(minio_server)
    writer = S3Storage(f"s3://{bucket}/some/lake", login(minio_server, bucket, "some/lake", "read-write"))
    requests = _prepare(writer)
    for step in STEPS.values():
        step(writer, spark, requests)
    writer.write("large", io.BytesIO(b"large" * 8 * 2**20))
    assert list(writer.unfinished()) == []
    writer.delete("large")


@pytest.mark.parametrize("policy", ["read-only", "read-write"])
def it_keeps_a_login_to_its_prefix(minio_server: StorageOptions, policy: str) -> None:
    bucket = make_bucket(minio_server)
    beside = f"s3://{bucket}/some/lake-beside"
    S3Storage(beside, minio_server).write("x", b"1")
    stranger = S3Storage(beside, login(minio_server, bucket, "some/lake", policy))
    for call in (
        lambda: stranger.read("x"),
        lambda: list(stranger.list()),
        lambda: stranger.write("y", b"2"),
        lambda: stranger.delete("x"),
    ):
        with pytest.raises(InvalidRequest, match="may not do this"):
            call()
