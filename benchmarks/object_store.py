"""How much slower are the Spark jobs on an object store than on a folder? Images per second, and where the rest goes.

    python benchmarks/object_store.py --images 1000 --rounds 3

The same images, tables and model package are in a folder and in an S3 server (versitygw) on the loopback interface of
the same machine, so that server and jobs share its cores. Both jobs run whole: planning, reading, decoding, writing,
committing; the start of the session is not counted. Stores alternate within a round; quoted are medians of ratios
within a round, with the lowest and the highest. Beside them: how fast the images alone are read, and how many CPU
seconds the server took of each job.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import batch_inference
import preprocess
import psutil

from darkroom.contract import examples_table, raw_blob
from darkroom.decode import one_thread
from darkroom.lake_copy import copy_lake
from darkroom.reader import ImageReader
from darkroom.storage import Storage, open_storage
from spark_apps.arrivals import plan_prediction
from spark_apps.predict import predict_inbox
from spark_apps.preprocess import plan_preprocessing
from spark_apps.preprocess import preprocess as make_examples
from spark_apps.session import spark_session
from tests.integration.servers import make_bucket, versitygw

WORKERS = 2
FOLDER, S3 = "folder", "S3"
READ, EXAMPLES, PREDICTIONS = "images read alone, one process", "preprocess", "batch inference"
TARGET = 0.8


def ways_of(spark: Any, lake: Storage, stored: list[tuple[str, int]], requests: dict[str, Any]) -> dict[str, Callable]:
    """What is timed on one lake; each returns the number of images that it went through."""
    wanted = [(raw_blob(preprocess.DATASET, content_id), content_id) for content_id, _ in stored]

    def examples() -> int:
        added: int = make_examples(spark, plan_preprocessing(lake, requests[EXAMPLES]))["transforms"][0]["added"]
        for blob in list(lake.list(examples_table(preprocess.DATASET).path)):
            lake.delete(blob.path)
        return added

    return {
        READ: lambda: sum(1 for _ in ImageReader(lake).read_all(wanted)),
        EXAMPLES: examples,
        PREDICTIONS: lambda: predict_inbox(spark, plan_prediction(lake, requests[PREDICTIONS]))["images"],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="unique images of each job")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    one_thread()
    with tempfile.TemporaryDirectory() as folder, versitygw(Path(folder) / "server") as reached:
        lake = open_storage(f"{folder}/lake")
        stored = [
            one for first in range(WORKERS) for one in preprocess.store_images(lake.root, options.images, first, 1.4)
        ]
        requests = {
            EXAMPLES: preprocess.prepare_tables(lake, stored),
            PREDICTIONS: batch_inference.prepare(lake, options.images),
        }
        server = next(one for one in psutil.Process().children() if "versitygw" in one.name())
        remote = open_storage(f"s3://{make_bucket(reached)}/lake", reached)
        copy_lake(lake, remote, Path(folder) / "journals", lambda _: None)
        with spark_session("bench", master=f"local[{WORKERS}]") as spark:
            stores = {FOLDER: ways_of(spark, lake, stored, requests), S3: ways_of(spark, remote, stored, requests)}
            for ways in stores.values():
                ways[PREDICTIONS]()  # starts the workers
            speeds: dict[tuple[str, str], list[float]] = {}
            served: dict[str, list[float]] = {}
            for number in range(options.rounds):
                for name in (READ, EXAMPLES, PREDICTIONS):
                    for store in list(stores) if number % 2 == 0 else reversed(stores):
                        before, began = sum(server.cpu_times()[:2]), time.perf_counter()
                        images = stores[store][name]()
                        speeds.setdefault((name, store), []).append(images / (time.perf_counter() - began))
                        if store == S3:
                            served.setdefault(name, []).append(sum(server.cpu_times()[:2]) - before)
    show(speeds, served, options)
    return 0


def show(speeds: dict[tuple[str, str], list[float]], served: dict[str, list[float]], options: Any) -> None:
    print(f"{options.images:,} images a job, {options.rounds} rounds, {WORKERS} workers, {os.cpu_count()} cores")
    for name in (READ, EXAMPLES, PREDICTIONS):
        ratios = [s3 / local for s3, local in zip(speeds[name, S3], speeds[name, FOLDER], strict=True)]
        ratio = statistics.median(ratios)
        each = [f"{store} {statistics.median(speeds[name, store]):,.0f} images/s" for store in (FOLDER, S3)]
        aim = "" if name == READ else f", aim {TARGET}: {'reached' if ratio >= TARGET else 'missed'}"
        print(f"{name}: {'; '.join(each)}; ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}){aim}")
        print(f"    the server took {statistics.median(served[name]):.1f} CPU seconds of it")


if __name__ == "__main__":
    sys.exit(main())
