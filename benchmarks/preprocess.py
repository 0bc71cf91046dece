"""How fast do JPEG files become Parquet of pixels on Spark, beside what limits it? Images per second.

    python benchmarks/preprocess.py --images 2000 --rounds 3

Ours is the real preprocess job on a lake in a temporary folder, planning and commit included, the start of the session
not. The limit is two plain processes with pyarrow. Peers are the usual ways on Spark; they decode as ours does, so
that only the way to Parquet differs. Daft, Ray Data and Hugging Face datasets take part where they can be imported
(`make bench PEERS=1` installs them), each with its own decoder and with ours. The two that return lists of floats and
the foreign decoders see a part of the images. Ways alternate within a round; quoted are medians of ratios within a
round, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _peers import FORMS, NAMES, Peer, absent_peers

from darkroom.contract import IMAGES_SCHEMA, SPLITS_SCHEMA, examples_table, images_table, raw_blob, splits_table
from darkroom.decode import one_thread
from darkroom.settings import get_settings
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from spark_apps.preprocess import plan_preprocessing, preprocess
from spark_apps.session import spark_session

WORKERS = 2
TRANSFORM = ImageTransform(width=224, height=224, color="rgb")
DATASET, VERSION, SPLIT = "bench", "v1", "s1"
PHOTOS = "imagenet-sample-400.zip"
GROUP = 256  # images of a row group that the plain processes write
PIXELS = pa.schema([("content_id", pa.string()), ("pixels", pa.binary())])
OURS, LIMIT, BINARY = "ours", "two plain processes + pyarrow", "binaryFile + mapInArrow"
ARROW, PICKLED = "Arrow UDF -> array<float>", "pickled UDF -> array<float>"
TARGETS = {LIMIT: 0.85, ARROW: 8.0, PICKLED: 15.0}


def photos(archive: bytes | Path, numbers: range, megapixels: float) -> Iterator[bytes]:
    """A crop of a photograph for each number, flipped or not, enlarged and encoded at one of many qualities."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(one.filename for one in opened.infolist() if not one.is_dir())
        for number in numbers:
            rng = np.random.default_rng([0, number])
            data = np.frombuffer(opened.read(names[number % len(names)]), np.uint8)
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
            height, width = (int(side * rng.uniform(0.7, 1.0)) for side in pixels.shape[:2])
            top = int(rng.integers(0, pixels.shape[0] - height + 1))
            left = int(rng.integers(0, pixels.shape[1] - width + 1))
            pixels = pixels[top : top + height, left : left + width]
            pixels = pixels[:, ::-1] if number // len(names) % 2 else pixels
            scale = (megapixels * 1e6 / (height * width)) ** 0.5
            large = cv2.resize(np.ascontiguousarray(pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))]
            yield cv2.imencode(".jpg", large, quality)[1].tobytes()


def phantoms(count: int, numbers: range) -> Iterator[bytes]:
    source = PhantomSource(images=round(count * 1.2) + 200, seed=0, size_range=(1000, 1400))
    ordinary = (planned for planned in phantom_plan(source) if planned.quirk is None)
    for planned in itertools.islice(ordinary, numbers.start, numbers.stop, numbers.step):
        yield draw(source, planned)


def store_images(root: str, count: int, first: int, megapixels: float) -> list[tuple[str, int]]:
    """Stores every WORKERS-th image as the lake does; returns (content_id, size in bytes) of each."""
    one_thread()
    lake, archive, numbers = open_storage(root), get_settings().samples / PHOTOS, range(first, count, WORKERS)
    stored = []
    for data in photos(archive, numbers, megapixels) if archive.is_file() else phantoms(count, numbers):
        content_id = hashlib.sha256(data).hexdigest()
        lake.write(raw_blob(DATASET, content_id), data)
        stored.append((content_id, len(data)))
    return stored


def prepare_tables(lake: Storage, stored: list[tuple[str, int]]) -> dict[str, Any]:
    """Commits a version and a split with every image in train; returns the job's request."""
    images, split = [], []
    for content_id, size in stored:
        row = {"path": f"{content_id}.jpeg", "content_id": content_id, "label": "A"}
        images.append({**row, "uri": raw_blob(DATASET, content_id), "size_bytes": size, "version": VERSION})
        split.append({**row, "split": "train", "weight": 1.0, "copies": 1, "split_id": SPLIT})
    rows = pa.Table.from_pylist(images, schema=IMAGES_SCHEMA)
    Table(lake, images_table(DATASET)).commit({"version": VERSION}, rows, {})
    Table(lake, splits_table(DATASET)).commit(
        {"split_id": SPLIT}, pa.Table.from_pylist(split, schema=SPLITS_SCHEMA), {}
    )
    return {"dataset": DATASET, "version": VERSION, "split_id": SPLIT, "transforms": [TRANSFORM.model_dump()]}


def plain_worker(paths: list[str], target: str) -> int:
    """The limit: read, decode, write; a row group in memory at a time."""
    one_thread()
    with pq.ParquetWriter(target, PIXELS, compression="none", use_dictionary=False) as writer:
        for start in range(0, len(paths), GROUP):
            some = paths[start : start + GROUP]
            pixels = [TRANSFORM.apply(Path(path).read_bytes()).tobytes() for path in some]
            writer.write_table(pa.table([[Path(path).name for path in some], pixels], schema=PIXELS))
    return len(paths)


def decode_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """(path, content) to (content_id, pixels), for mapInArrow."""
    one_thread()
    for batch in batches:
        ids = [path.rpartition("/")[2] for path in batch["path"].to_pylist()]
        pixels = [TRANSFORM.apply(memoryview(value.as_buffer()).tobytes()).tobytes() for value in batch["content"]]
        yield pa.RecordBatch.from_arrays([pa.array(ids), pa.array(pixels, pa.binary())], schema=PIXELS)


def floats(content: bytes) -> list[float]:
    """What a UDF of one image returns: pixels as floats of 0 to 1, flat."""
    one_thread()
    return (TRANSFORM.apply(bytes(content)).ravel() / np.float32(255)).tolist()


def spark_ways(spark: Any, whole: list[str], part: list[str], out: Path) -> dict[str, Callable[[], object]]:
    """The usual ways on Spark, over files or folders. The two slow ones read ``part``."""
    from pyspark.sql.functions import col, udf
    from pyspark.sql.types import ArrayType, FloatType

    def read(paths: list[str]) -> Any:
        files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(paths)
        return files.select("path", "content").coalesce(2 * WORKERS)

    def binary() -> None:
        pixels = read(whole).mapInArrow(decode_batches, "content_id string, pixels binary")
        pixels.write.option("compression", "none").parquet(str(out))

    def by_udf(arrow: bool) -> None:
        convert = udf(floats, ArrayType(FloatType()), useArrow=arrow)
        read(part).select("path", convert(col("content")).alias("pixels")).write.parquet(str(out))

    return {BINARY: binary, ARROW: lambda: by_udf(True), PICKLED: lambda: by_udf(False)}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def show(speeds: dict[str, list[float]], counts: dict[str, int]) -> dict[str, Any]:
    """Prints the table, with the targets beside what was reached; returns its figures."""
    figures: dict[str, Any] = {}
    print(f"{'':34} {'images':>6} {'images per second':>24} {'ours / it':>24} {'target':>7}")
    for name, values in speeds.items():
        ratio = spread([ours / theirs for ours, theirs in zip(speeds[OURS], values, strict=True)])
        speed, target = spread(values), TARGETS.get(name, None if name == OURS else 1.0)
        reached = None if target is None else bool(ratio["median"] >= target)
        figures[name] = {"images": counts[name], "speed": speed, "ours_over": ratio, "target": target}
        shown = f"{speed['median']:,.0f} ({speed['min']:,.0f} to {speed['max']:,.0f})"
        times = "" if name == OURS else f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
        verdict = "" if target is None else f"{target:7.2f} {'reached' if reached else 'missed'}"
        print(f"{name:34} {counts[name]:6,} {shown:>24} {times:>24} {verdict}")
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="unique images")
    parser.add_argument("--part", type=int, default=300, help="how many of them the ways that return floats see")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megapixels", type=float, default=1.4, help="size that photographs are enlarged to")
    options = parser.parse_args(argv)
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", "--driver-memory 4g pyspark-shell")  # lists of floats take room
    absent = absent_peers()
    pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder:
        lake, out = open_storage(folder), Path(folder) / "out"
        jobs = [pool.submit(store_images, folder, options.images, k, options.megapixels) for k in range(WORKERS)]
        stored = list(itertools.chain.from_iterable(job.result() for job in jobs))
        unique, average = len(dict(stored)), sum(size for _, size in stored) / len(stored) / 1e3
        found = (get_settings().samples / PHOTOS).is_file()
        kind = f"crops of {PHOTOS} enlarged to {options.megapixels} MP" if found else "phantom radiographs"
        print(f"{unique:,} unique JPEGs ({average:,.0f} kB each): {kind}; to 224 x 224 RGB", flush=True)
        request = prepare_tables(lake, stored)
        paths = [str(Path(folder) / raw_blob(DATASET, content_id)) for content_id, _ in stored]
        part = paths[: options.part]
        began = time.perf_counter()
        with spark_session("bench", master=f"local[{WORKERS}]") as spark:
            print(f"Session start, not counted: {time.perf_counter() - began:.1f} s", flush=True)

            def plain() -> None:
                out.mkdir()
                parts = [paths[k :: 2 * WORKERS] for k in range(2 * WORKERS)]
                targets = [str(out / f"{k}.parquet") for k in range(2 * WORKERS)]
                assert sum(pool.map(plain_worker, parts, targets)) == len(paths)

            def ours() -> None:
                added = preprocess(spark, plan_preprocessing(lake, request))["transforms"][0]["added"]
                assert added == unique

            blobs = str(Path(folder) / "raw" / DATASET / "blobs")
            started = {name: Peer(module, TRANSFORM, WORKERS) for module, name in NAMES.items() if name not in absent}
            peers = {
                f"{name}, {form}": partial(peer.run, form, part if form == "native" else paths, out)
                for name, peer in started.items()
                for form in FORMS
            }
            ways = {OURS: ours, LIMIT: plain, **spark_ways(spark, [blobs], part, out), **peers}
            counts = {
                name: len(part) if name in (ARROW, PICKLED) or name.endswith("native") else len(paths) for name in ways
            }
            speeds: dict[str, list[float]] = {name: [] for name in ways}

            def timed(way: Callable[[], object]) -> float:
                began = time.perf_counter()
                way()
                seconds = time.perf_counter() - began
                shutil.rmtree(out, ignore_errors=True)
                shutil.rmtree(Path(folder) / examples_table(DATASET).path, ignore_errors=True)
                return seconds

            for way in spark_ways(spark, part[:8], part[:8], out).values():
                timed(way)  # starts the workers
            for peer, form in itertools.product(started.values(), FORMS):
                timed(partial(peer.run, form, part[:8], out))
            for number in range(options.rounds):
                order = list(ways) if number % 2 == 0 else list(reversed(ways))
                for name in order:
                    speeds[name].append(counts[name] / timed(ways[name]))
            for peer in started.values():
                peer.close()
    pool.shutdown()
    print(f"{options.rounds} rounds, {WORKERS} workers, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    figures = show(speeds, counts)
    if absent:
        print(f"Left out, not installed: {', '.join(absent)}")
    print(
        json.dumps({"benchmark": "preprocess", "rounds": options.rounds, "load": os.getloadavg()[0], "ways": figures})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
