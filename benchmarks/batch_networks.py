"""How fast do the networks classify, beside bare ONNX Runtime, and how much faster is int8? Pixels to probabilities.

    python benchmarks/batch_networks.py --images 128 --rounds 5 --keep /tmp/graphs

Each network is exported as training does it (random weights, statistics of real pixels: the time does not depend on
them), once as it is and once in int8. Ways: a bare ONNX Runtime session, and the model package through Model.predict;
both on two threads in batches of 32. Ways alternate within a round; quoted are medians of ratios within a round.
``--keep`` holds the graphs for the next time, and for ``benchmarks/batch_inference.py --graph``, which is the whole job
in Spark.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from batch_inference import package_info

from darkroom.model import BATCH, load_package
from darkroom.package import pack
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.storage import open_storage
from darkroom.transform import ImageTransform
from training.config import TrainingConfig, known_configs, load_config, parse_config

THREADS = 2
CALIBRATION = 64
NETWORKS = ("small_cnn", "resnet_small", "resnet_small_rgb32", "mobilenet_v2", "efficientnet_v2_b0", "resnet50")


def config_of(name: str, side: int) -> TrainingConfig:
    """The config of that name, or one of the kind transfer with this backbone."""
    if name in known_configs():
        return load_config(name)
    transform = {"width": side, "height": side, "color": "rgb"}
    return parse_config({"name": name, "kind": "transfer", "backbone": name, "weights": "none", "transform": transform})


def phantoms(count: int, transform: ImageTransform) -> np.ndarray:
    source = PhantomSource(images=round(count * 1.2) + 200, seed=0)
    ordinary = [planned for planned in phantom_plan(source) if planned.quirk is None][:count]
    return np.stack([transform.apply(draw(source, planned)) for planned in ordinary])


def exported(config: Any, pixels: np.ndarray) -> tuple[bytes, bytes]:
    """The network of a config as its graph, and that graph in int8."""
    from training.kinds import kind_of, transfer
    from training.networks.batch_norm import settle_statistics
    from training.networks.keras_engine import to_onnx
    from training.networks.quantize import to_int8

    if isinstance(config, transfer.Config):
        model = transfer.network(config, config.transform.shape, 2, 0)
    else:
        model = kind_of(config.kind).network(config.model, config.transform.shape, 2, 0)
    settle_statistics(model, pixels[:BATCH], batch_size=BATCH)
    graph = to_onnx(model)
    return graph, to_int8(graph, pixels[:CALIBRATION])


def graphs_of(config: TrainingConfig, pixels: np.ndarray, keep: Path) -> dict[str, bytes]:
    """{"float32", "int8"}: from the folder where they are there."""
    paths = {form: keep / f"{config.name}-{config.transform.width}-{form}.onnx" for form in ("float32", "int8")}
    if not all(path.exists() for path in paths.values()):
        for path, graph in zip(paths.values(), exported(config, pixels), strict=True):
            path.write_bytes(graph)
    return {form: path.read_bytes() for form, path in paths.items()}


def bare(graph: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime as its own examples use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    names = [session.get_outputs()[0].name]

    def run(pixels: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [session.run(names, {feed: pixels[k : k + BATCH]})[0] for k in range(0, len(pixels), BATCH)]
        )

    return run


def packaged(graph: bytes, transform: ImageTransform) -> Callable[[np.ndarray], np.ndarray]:
    """The same graph as a model package."""
    return load_package(
        open_storage(tempfile.gettempdir()), pack(package_info(transform), graph), threads=THREADS
    ).predict


def measured(ways: dict[str, Callable[[np.ndarray], np.ndarray]], pixels: np.ndarray, rounds: int) -> None:
    """Prints images a second of each way, and the ratios that are asked for."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    slowest = 0.0
    for way in ways.values():
        way(pixels[:BATCH])
        began = time.perf_counter()
        way(pixels)
        slowest = max(slowest, time.perf_counter() - began)
    times = max(1, round(1 / slowest))  # what lasts a moment says little on a shared machine
    pixels = np.concatenate([pixels] * times)
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way(pixels)
            speeds[name].append(len(pixels) / (time.perf_counter() - began))
    for name, values in speeds.items():
        print(f"  {name:24} {statistics.median(values):8,.1f} images/s  ({min(values):,.1f} to {max(values):,.1f})")
    pairs = [("package", "bare"), ("package int8", "bare int8"), ("bare int8", "bare"), ("package int8", "package")]
    for mine, other in pairs:
        ratios = [one / two for one, two in zip(speeds[mine], speeds[other], strict=True)]
        print(f"  {mine} / {other}: {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the graphs")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        for name in options.networks:
            config = config_of(name, options.side)
            pixels = phantoms(options.images, config.transform)
            graphs = graphs_of(config, pixels, keep)
            sizes = ", ".join(f"{form} {len(graph) / 1e6:.1f} MB" for form, graph in graphs.items())
            print(f"{name}, {config.transform.width} px, {sizes}, {len(pixels)} images, {options.rounds} rounds")
            ways = {
                "bare": bare(graphs["float32"]),
                "package": packaged(graphs["float32"], config.transform),
                "bare int8": bare(graphs["int8"]),
                "package int8": packaged(graphs["int8"], config.transform),
            }
            measured(ways, pixels, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
