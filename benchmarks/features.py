"""How fast are features made on Spark, beside two plain processes that make the same library calls? Images per second.

    python benchmarks/features.py --images 2000 --rounds 3

The images are those of chest-xray-224.zip, each content once; phantom radiographs where it is not at hand. Their
examples (224 x 224 gray) are made before. Ours is the real job from there on: planning, reading the examples,
extracting, writing, committing; the start of the session is not counted. The limit is two processes that read the same
examples and call scikit-image, OpenCV or mahotas with the same arguments, and neither keep nor write anything. Both
ways alternate within a round; quoted are medians of ratios within a round, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import hashlib
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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import preprocess
import pyarrow.parquet as pq

from darkroom.contract import examples_table, features_table, raw_blob
from darkroom.decode import one_thread
from darkroom.features import Feature, parse_feature
from darkroom.settings import get_settings
from darkroom.storage import open_storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from spark_apps.preprocess import plan_preprocessing
from spark_apps.preprocess import preprocess as run_job
from spark_apps.session import spark_session

WORKERS = 2
TRANSFORM = ImageTransform(width=224, height=224)
RADIOGRAPHS = "chest-xray-224.zip"
KINDS = ("hog", "lbp", "sift", "haralick", "gabor")
SHARE = {"sift": 0.4}  # of the images that the slow one sees
TARGET = 0.85
FEW = 64  # images that both ways see before, so that libraries are imported and workers started


def radiographs(archive: Path, count: int) -> Iterator[bytes]:
    """The first images by name, each content once."""
    seen = set()
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(one.filename for one in opened.infolist() if not one.is_dir()):
            data = opened.read(name)
            content_id = hashlib.sha256(data).digest()
            if content_id not in seen and len(seen) < count:
                seen.add(content_id)
                yield data


def library_call(feature: Any) -> Callable[[np.ndarray], object]:
    """What the library is asked for, of uint8[H, W]; nothing around it."""
    import skimage.feature
    from mahotas.features import haralick

    from darkroom.features.kinds.gabor import kernels

    sift = cv2.SIFT_create(contrastThreshold=parse_feature("sift").contrast)

    def gabor(gray: np.ndarray) -> None:
        image = gray.astype(np.float32)
        for scale in range(feature.scales):
            image = cv2.pyrDown(image) if scale else image
            for pair in kernels(feature.frequency, feature.orientations):
                for kernel in pair:
                    answer = cv2.filter2D(image, cv2.CV_32F, kernel)
                    cv2.resize(answer, (feature.grid, feature.grid), interpolation=cv2.INTER_AREA)

    calls: dict[str, Callable[[np.ndarray], object]] = {
        "hog": lambda gray: skimage.feature.hog(
            gray.astype(np.float32), 9, (28, 28), (2, 2), "L2-Hys", transform_sqrt=True
        ),
        "lbp": lambda gray: skimage.feature.local_binary_pattern(gray, feature.points, feature.radius, "nri_uniform"),
        "sift": lambda gray: sift.detectAndCompute(gray, None),
        "haralick": lambda gray: [haralick(gray // 4, return_mean_ptp=True, distance=one) for one in feature.distances],
        "gabor": gabor,
    }
    return calls[feature.kind]


def plain_worker(feature: Feature, places: list[tuple[str, int]]) -> int:
    """The limit: read a row group of examples, call the library for each."""
    one_thread()
    call, count = library_call(feature), 0
    for path, group in places:
        with pq.ParquetFile(path) as file:
            pixels = file.read_row_group(group, columns=["pixels"], use_threads=False)["pixels"]
        for value in pixels:
            call(np.frombuffer(value.as_buffer(), np.uint8).reshape(TRANSFORM.shape[:2]))
        count += len(pixels)
    return count


def halves(files: list[str]) -> list[list[tuple[str, int]]]:
    """The row groups of the files for each of the plain processes, equal numbers of images."""
    groups = []
    for path in files:
        with pq.ParquetFile(path) as file:
            groups += [(file.metadata.row_group(k).num_rows, path, k) for k in range(file.num_row_groups)]
    parts: list[list[tuple[str, int]]] = [[] for _ in range(WORKERS)]
    loads = [0] * WORKERS
    for rows, path, group in sorted(groups, reverse=True):
        lightest = loads.index(min(loads))
        parts[lightest].append((path, group))
        loads[lightest] += rows
    return parts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="unique images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    options = parser.parse_args(argv)
    archive = get_settings().samples / RADIOGRAPHS
    found = (
        radiographs(archive, options.images)
        if archive.is_file()
        else preprocess.phantoms(options.images, range(options.images))
    )
    few = FEW / options.images
    stored: dict[float, list[tuple[str, int]]] = {share: [] for share in (1.0, few, *SHARE.values())}
    pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        lakes = {share: open_storage(f"{folder}/{share}") for share in stored}
        for number, data in enumerate(found):
            content_id = hashlib.sha256(data).hexdigest()
            for share, lake in lakes.items():
                if number < share * options.images:
                    lake.write(raw_blob(preprocess.DATASET, content_id), data)
                    stored[share].append((content_id, len(data)))
        told = RADIOGRAPHS if archive.is_file() else "phantom radiographs"
        print(f"{len(stored[1.0]):,} unique images of {told}, at 224 x 224 gray; {WORKERS} workers", flush=True)
        with spark_session("bench", master=f"local[{WORKERS}]") as spark:
            requests, parts = {}, {}
            for share, lake in lakes.items():
                request = preprocess.prepare_tables(lake, stored[share])
                requests[share] = {**request, "transforms": [TRANSFORM.model_dump()]}
                run_job(spark, plan_preprocessing(lake, requests[share]), 2 * WORKERS)
                parts[share] = halves(Table(lake, examples_table(preprocess.DATASET)).files())

            def ours(feature: Feature, share: float) -> int:
                wanted = [{"transform": TRANSFORM.model_dump(), "features": [feature.model_dump()]}]
                result = run_job(spark, plan_preprocessing(lakes[share], {**requests[share], "features": wanted}))
                added: int = result["feature_partitions"][0]["added"]
                return added

            def plain(feature: Feature, share: float) -> int:
                return sum(pool.map(plain_worker, [feature] * WORKERS, parts[share]))

            def speed(way: Callable[[Feature, float], int], feature: Feature, share: float) -> float:
                began = time.perf_counter()
                count = way(feature, share)
                seconds = time.perf_counter() - began
                assert count == len(stored[share])
                shutil.rmtree(Path(folder) / str(share) / features_table(preprocess.DATASET).path, ignore_errors=True)
                return count / seconds

            print(f"{'':10} {'images':>6} {'ours, images/s':>24} {'limit, images/s':>24} {'ours / limit':>22}")
            for kind in options.kinds:
                feature, share = parse_feature(kind), SHARE.get(kind, 1.0)
                for way in (ours, plain):
                    speed(way, feature, few)
                rounds: list[tuple[float, float]] = []
                for number in range(options.rounds):
                    ways = (ours, plain) if number % 2 == 0 else (plain, ours)
                    measured = {way: speed(way, feature, share) for way in ways}
                    rounds.append((measured[ours], measured[plain]))
                figures[kind] = show(kind, len(stored[share]), rounds)
    pool.shutdown()
    print(f"{options.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(json.dumps({"benchmark": "features", "rounds": options.rounds, "ways": figures}))
    return 0


def show(kind: str, images: int, rounds: list[tuple[float, float]]) -> dict[str, Any]:
    """Prints a line of the table; returns its figures."""
    ours, limit = ([one[k] for one in rounds] for k in (0, 1))
    ratio = preprocess.spread([a / b for a, b in rounds])
    told = [f"{statistics.median(one):,.0f} ({min(one):,.0f} to {max(one):,.0f})" for one in (ours, limit)]
    times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
    verdict = "reached" if ratio["median"] >= TARGET else "missed"
    print(f"{kind:10} {images:6,} {told[0]:>24} {told[1]:>24} {times:>22} {TARGET} {verdict}", flush=True)
    return {"images": images, "ours": preprocess.spread(ours), "limit": preprocess.spread(limit), "ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
