"""How many requests a partition of N images costs on an object store, from the server's own log."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from darkroom.reconcile import find_changes
from darkroom.settings import get_settings
from darkroom.sources import FolderSource, fetch
from darkroom.storage import S3Storage, Storage
from darkroom.tables import Table
from tests.integration.servers import make_bucket, versitygw
from tests.packages import TRANSFORM, write_dataset
from tests.suites.classified import fill_date
from tests.suites.rows import OTHER, PARTITION, SPEC, rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.integration

FILES = 3
DATES = [f"2026-01-{day:02}" for day in range(1, 8)]
_OPERATION = re.compile(r" s3_(\w+) ")

Cost = Callable[[Callable[[], object]], Counter[str]]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Storage, Cost]]:
    """A lake, and what a call costs there."""
    folder = tmp_path_factory.mktemp("counted")
    log = folder / "log"
    with versitygw(folder / "server", access_log=log) as options:
        lake = S3Storage(f"s3://{make_bucket(options)}/lake", options)

        def cost(call: Callable[[], object]) -> Counter[str]:
            before = len(_settled(log))
            call()
            return Counter(_OPERATION.findall(_settled(log)[before:]))

        yield lake, cost


def _settled(log: Path) -> str:
    """The log's text once it has not grown for a while."""
    text = log.read_text()
    while True:
        time.sleep(0.3)
        if (newer := log.read_text()) == text:
            return text
        text = newer


def it_costs_one_request_to_read_an_image_and_none_to_find_it(counted: tuple[S3Storage, Cost]) -> None:
    lake, cost = counted
    for number in range(40):
        lake.write(f"raw/pets/blobs/{number:02}", b"1")
    assert cost(lambda: [lake.read(f"raw/pets/blobs/{number:02}") for number in range(40)]) == {"GetObject": 40}
    assert cost(lambda: lake.write("raw/pets/blobs/one", b"1")) == {"PutObject": 1}
    assert cost(lambda: lake.create("champions/pets/1.json", b"1")) == {"PutObject": 1}
    assert cost(lambda: list(lake.list("raw"))) == {"ListObjectsV2": 1}


def it_costs_as_much_to_write_and_to_read_few_images_as_many(counted: tuple[S3Storage, Cost]) -> None:
    """Stated in docs/s3.md: what grows is the number of data files, by one put and one head a file."""
    lake, cost = counted
    costs = [_of_a_partition(S3Storage(f"{lake.root}/{images}", lake.options), cost, images) for images in (30, 3_000)]
    for written, read in costs:
        # Gets are reads of data files and of log entries; how a reader splits one file into ranges is its own affair.
        assert written.pop("GetObject") <= 12
        assert read.pop("GetObject") <= FILES + 12
        assert written == {"PutObject": FILES + 1, "HeadObject": FILES, "ListObjectsV2": 3}
        assert read == {"HeadObject": FILES, "ListObjectsV2": 1}


def _of_a_partition(lake: S3Storage, cost: Cost, images: int) -> tuple[Counter[str], Counter[str]]:
    """What it costs to replace a partition, in files that workers write, and to read it."""
    table = Table(lake, SPEC)

    def replace() -> None:
        table.commit(PARTITION, [table.write_file(PARTITION, rows(images // FILES, tag)) for tag in "abc"], {})

    table.commit(OTHER, rows(1), {})
    replace()
    return cost(replace), cost(lambda: table.read(PARTITION))


def it_costs_the_spark_job_that_makes_examples_one_read_an_image(
    counted: tuple[S3Storage, Cost], spark: SparkSession
) -> None:
    from spark_apps.preprocess import plan_preprocessing, preprocess

    lake, cost = counted

    def of_a_job(images: int) -> Counter[str]:
        mine = S3Storage(f"{lake.root}/job{images}", lake.options)
        request = write_dataset(mine, "lamps", [], train=images, other=2) | {"transforms": [TRANSFORM.model_dump()]}
        return cost(lambda: preprocess(spark, plan_preprocessing(mine, request), 2))

    few, many = of_a_job(12), of_a_job(60)
    assert many - few == {"GetObject": 60 - 12}
    assert few - many == {}
    assert few["PutObject"] == 2 + 1
    assert few["HeadObject"] + few["ListObjectsV2"] <= 16


def it_costs_listings_and_log_entries_to_reconcile_and_no_read_of_an_image(counted: tuple[S3Storage, Cost]) -> None:
    lake, cost = counted

    def of_a_feed(images: int) -> tuple[Counter[str], Counter[str]]:
        """What it costs where nothing changed, and where one image of one date is late."""
        mine = S3Storage(f"{lake.root}/reconciled{images}", lake.options)
        for dt in DATES:
            fill_date(mine, dt, images)
        same = cost(lambda: _changes(mine, 0))
        mine.write(f"inbox/clinic/dt={DATES[2]}/late.png", b"late")
        return same, cost(lambda: _changes(mine, 1))

    few, many = of_a_feed(5), of_a_feed(60)
    assert many == few
    same, late = few
    assert set(same) <= {"ListObjectsV2", "GetObject", "HeadObject"}
    # A listing of inbox/, of the feed's dates, of each date; of the log, and an entry of it for each date.
    assert same["ListObjectsV2"] <= len(DATES) + 4
    assert same["GetObject"] <= 2 * len(DATES) + 8
    assert late["ListObjectsV2"] - same["ListObjectsV2"] <= 2
    assert late["GetObject"] - same["GetObject"] <= 20  # the log again, and one date's rows


def _changes(lake: S3Storage, expected: int) -> None:
    assert len(find_changes(lake, DATES)) == expected


def it_sends_a_large_object_in_parts(counted: tuple[S3Storage, Cost]) -> None:
    lake, cost = counted
    expected = {"CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
    assert cost(lambda: lake.write("large", b"1" * (40 * 2**20))) == expected
    assert cost(lambda: lake.write("small", b"1" * (16 * 2**20))) == {"PutObject": 1}


def it_reads_images_that_stay_in_place_once_and_lists_them_the_next_time(
    counted: tuple[S3Storage, Cost], lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, cost = counted
    monkeypatch.setenv("DARKROOM_S3_ENDPOINT", bucket.options.endpoint)
    monkeypatch.setenv("DARKROOM_S3_ACCESS_KEY", bucket.options.access_key)
    monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", bucket.options.secret_key)
    get_settings.cache_clear()
    for number in range(40):
        bucket.write(f"photos/lit/{number}.png", b"%d" % number)
    folder = FolderSource(uri=bucket.uri("photos"), in_place=True)
    first = cost(lambda: fetch(folder, "pets", lake))
    assert first == {"ListObjectsV2": 2, "GetObject": 40, "HeadObject": 80}  # a head before and after each read
    assert cost(lambda: fetch(folder, "pets", lake)) == {"ListObjectsV2": 1}
    bucket.write("photos/lit/new.png", b"new")
    assert cost(lambda: fetch(folder, "pets", lake)) == {"ListObjectsV2": 2, "GetObject": 1, "HeadObject": 2}
    get_settings.cache_clear()
