"""How fast is batch inference, beside what limits it? JPEG to row of predictions, images a second.

    python benchmarks/batch_inference.py --images 2000 --rounds 3
    python benchmarks/batch_inference.py --images 256 --graph /tmp/graphs/mobilenet_v2-224-int8.onnx

Every way sees the same unique phantom radiographs and the same network: one of small_cnn's size (random weights: the
time does not depend on them), or the graph of a file, as benchmarks/batch_networks.py keeps them. Limits: decoding
alone, the network alone, and two plain processes that do all of the work without Spark. Peers: one image at a time, and
the whole job in Spark. Ways alternate within a round; quoted are medians of ratios within a round, since machines are
shared and noisy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from darkroom.decode import one_thread
from darkroom.model import BATCH, load_package, write_package
from darkroom.package import PackageInfo
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.storage import Storage, open_storage
from darkroom.transform import ImageTransform
from spark_apps.arrivals import ChampionOfRequest, plan_prediction
from spark_apps.predict import classify_files, predict_inbox, worker_model
from spark_apps.session import spark_session

WORKERS = 2
SMALL = ImageTransform(width=64, height=64, color="gray")
DAY, FEED = "2026-01-01", "bench"


def network(filters: tuple[int, ...] = (16, 32, 64, 96)) -> bytes:
    """An ONNX network of small_cnn's shape with random weights: uint8[N, 64, 64, 1] to float32[N, 2]."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    weights, channels = [], 1
    for block, width in enumerate(filters):
        name = f"w{block}"
        kernel = rng.normal(0, 1e-2, (width, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, name))
        nodes.append(helper.make_node("Conv", [f"x{block}", name], [f"c{block}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{block}"], [f"r{block}"]))
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes.append(helper.make_node("MaxPool", [f"r{block}"], [f"x{block + 1}"], **pool))
        channels = width
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{len(filters)}"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["margins"]),
        helper.make_node("Softmax", ["margins"], ["probabilities"], axis=1),
    ]
    weights.append(numpy_helper.from_array(rng.normal(0, 1e-3, (channels, 2)).astype(np.float32), "head"))
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *SMALL.shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


def transform_of(graph: bytes) -> ImageTransform:
    """The transform that makes what a graph takes, uint8[N, H, W, C]."""
    import onnx

    taken = onnx.load_model_from_string(graph).graph.input[0].type.tensor_type.shape.dim
    height, width, channels = (dimension.dim_value for dimension in taken[1:])
    return ImageTransform(width=width, height=height, color="gray" if channels == 1 else "rgb")


def package_info(transform: ImageTransform) -> PackageInfo:
    """What a package says of itself whose speed is measured."""
    identity = {"dataset": "bench", "dataset_version": "v", "split_id": "s", "config": "bench", "seed": 0}
    return PackageInfo(
        classes=("NORMAL", "PNEUMONIA"),
        positive_class="PNEUMONIA",
        threshold=0.5,
        transform=transform.model_dump(mode="json"),
        transform_hash=transform.hash,
        config_digest="0",
        code_digest="0",
        input_shape=transform.shape,
        **identity,
    )


def prepare(lake: Storage, images: int, graph: bytes, transform: ImageTransform) -> dict[str, Any]:
    """Fills the inbox with unique phantoms and writes the package; returns the job's request."""
    source = PhantomSource(images=round(images * 1.2) + 200, seed=0)
    ordinary = (planned for planned in phantom_plan(source) if planned.quirk is None)
    for number, planned in enumerate(itertools.islice(ordinary, images)):
        lake.write(f"inbox/{FEED}/dt={DAY}/{number:06}.jpeg", draw(source, planned))
    path, package_id = write_package(lake, FEED, package_info(transform), graph)
    champion = {"package": path, "package_id": package_id, "version": "1", "run_id": "r", "dataset_version": "v"}
    return {"feed": FEED, "model": FEED, "dt": DAY, "champion": champion, "predicted_at": "2026-01-02T00:00:00Z"}


def plain_worker(root: str, champion: dict[str, Any], files: list[tuple[str, int]], batch: int) -> int:
    """All of a Spark worker's work on some files but for writing Parquet."""
    one_thread()
    lake = open_storage(root)
    model = worker_model(lake, ChampionOfRequest.model_validate(champion))
    return sum(len(classify_files(lake, model, files[k : k + batch])) for k in range(0, len(files), batch))


def warm(root: str, champion: dict[str, Any]) -> None:
    worker_model(open_storage(root), ChampionOfRequest.model_validate(champion))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--graph", type=Path, default=None, help="an ONNX file; default: small_cnn's size")
    options = parser.parse_args(argv)
    graph = options.graph.read_bytes() if options.graph else network()
    transform = transform_of(graph)
    one_thread()
    with tempfile.TemporaryDirectory() as folder, spark_session("bench", master=f"local[{WORKERS}]") as spark:
        lake = open_storage(folder)
        request = prepare(lake, options.images, graph, transform)
        plan = plan_prediction(lake, request)
        files = [(blob.path, blob.size) for blob in plan.blobs]
        model = load_package(lake, request["champion"]["package"])
        pool = ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
        list(pool.map(warm, [folder] * WORKERS, [request["champion"]] * WORKERS))
        some = files[: max(BATCH, len(files) // 4)]
        pixels = np.stack([transform.apply(lake.read(path)) for path, _ in some])

        def plain(batch: int, chosen: list[tuple[str, int]]) -> int:
            parts = [chosen[k::WORKERS] for k in range(WORKERS)]
            arguments = zip(*[(folder, request["champion"], part, batch) for part in parts], strict=True)
            return sum(pool.map(plain_worker, *arguments))

        ways: dict[str, Callable[[], int]] = {
            f"decode to {transform.width}x{transform.height}, one thread": lambda: len(
                [transform.apply(lake.read(path)) for path, _ in some]
            ),
            "network alone, one thread": lambda: len(model.predict(pixels)),
            "two plain processes": lambda: plain(BATCH, files),
            "two plain processes, one image at a time": lambda: plain(1, files),
            "Spark job": lambda: predict_inbox(spark, plan)["images"],
        }
        ways["Spark job"]()  # starts the workers
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                speeds[name].append(way() / (time.perf_counter() - began))
        pool.shutdown()
    print(f"{options.images:,} images, {options.rounds} rounds, {WORKERS} workers, {os.cpu_count()} cores")
    for name, values in speeds.items():
        print(f"{name:44} {statistics.median(values):8,.0f} images/s  ({min(values):,.0f} to {max(values):,.0f})")
    for name in ("two plain processes", "two plain processes, one image at a time"):
        ratios = [ours / theirs for ours, theirs in zip(speeds["Spark job"], speeds[name], strict=True)]
        print(f"Spark job / {name}: {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
