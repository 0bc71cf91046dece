"""Small model packages and datasets that several suites use."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from darkroom.contract import examples_table, features_table, images_table, raw_blob, splits_table
from darkroom.features import FeatureSet, FittedFeatures
from darkroom.model import write_package
from darkroom.package import PackageInfo
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from training.classical.linear_graph import linear_graph

CLASSES = ("BRIGHT", "DARK")
TRANSFORM = ImageTransform(width=16, height=16)


def png(value: float, seed: int, size: int = 24) -> bytes:
    """A noisy gray square, losslessly stored."""
    pixels = np.clip(np.random.default_rng(seed).normal(value, 12, (size, size)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def bright_or_dark(shape: tuple[int, int, int] = TRANSFORM.shape, classes: int = 2) -> bytes:
    """An ONNX graph that calls images with a mean above 127.5 BRIGHT (class 0)."""
    features = int(np.prod(shape))
    weights = np.zeros((classes, features))
    weights[0], weights[1] = 10 / features, -10 / features
    return linear_graph(weights, np.array([-5.0, 5.0] + [-9.0] * (classes - 2)), shape)


def package_info(**changes: Any) -> PackageInfo:
    fields: dict[str, Any] = {
        "classes": CLASSES,
        "positive_class": "DARK",
        "threshold": 0.5,
        "transform": TRANSFORM.model_dump(mode="json"),
        "transform_hash": TRANSFORM.hash,
        "dataset": "lamps",
        "dataset_version": "v1",
        "split_id": "s1",
        "config": "by_hand",
        "config_digest": "0" * 16,
        "code_digest": "0" * 16,
        "seed": 0,
        "input_shape": TRANSFORM.shape,
    }
    return PackageInfo.model_validate(fields | changes)


def on_features() -> tuple[PackageInfo, bytes, FittedFeatures]:
    """What ``pack`` takes: a graph of four values, the means of the quarters of the image, whose sum decides."""
    wanted = FeatureSet.model_validate([{"kind": "pixels", "side": 2}])
    info = package_info(features=wanted.model_dump(mode="json"), features_hash=wanted.hash)
    graph = linear_graph(np.array([[3.0] * 4, [-3.0] * 4]), np.array([-6.0, 6.0]), (4,))
    return info, graph, wanted.fit(wanted.extract(np.zeros((1, *TRANSFORM.shape), np.uint8)))


def champion_of(
    lake: Storage, model: str = "lamps", features: FittedFeatures | None = None, **changes: Any
) -> dict[str, Any]:
    """A package on the lake and what a champion's entry says of it; ``features``: those of ``on_features``."""
    info, graph = package_info(**changes), bright_or_dark()
    if features is not None:
        info, graph, _ = on_features()
    path, package_id = write_package(lake, model, info, graph, features=features)
    return {
        "package": path,
        "package_id": package_id,
        "version": "1",
        "run_id": "run-1",
        "dataset": info.dataset,
        "dataset_version": info.dataset_version,
        "split_id": info.split_id,
        "transform_hash": info.transform_hash,
    }


def write_dataset(
    lake: Storage, dataset: str, transforms: list[ImageTransform], train: int = 60, other: int = 40, seed: int = 0
) -> dict[str, str]:
    """A dataset of bright and dark squares with images, split and examples; {"dataset", "version", "split_id"}."""
    images, splits = [], []
    pixels: dict[str, list[dict[str, Any]]] = {transform.hash: [] for transform in transforms}
    parts = ["train"] * train + ["val"] * other + ["test"] * other
    for number, part in enumerate(parts):
        label = CLASSES[number % 2]
        data = png(165 if label == "BRIGHT" else 90, seed * 10_000 + number)
        content_id = hashlib.sha256(data).hexdigest()
        uri = raw_blob(dataset, content_id)
        lake.write(uri, data)
        row = {"content_id": content_id, "path": f"{part}/{label}/{number}.png", "label": label}
        images.append({**row, "given_split": part, "uri": uri, "size_bytes": len(data), "version": "v1"})
        splits.append({**row, "split": part, "weight": 1.0, "copies": 1, "group": f"p{number // 2}", "split_id": "s1"})
        for transform in transforms:
            sizes = {"height": transform.height, "width": transform.width, "channels": transform.channels}
            example = {"content_id": content_id, "pixels": transform.apply(data).tobytes(), **sizes}
            pixels[transform.hash].append({**example, "transform_hash": transform.hash})
    for spec, partition, rows in [
        (images_table(dataset), {"version": "v1"}, images),
        (splits_table(dataset), {"split_id": "s1"}, splits),
        *[(examples_table(dataset), {"transform_hash": name}, rows) for name, rows in pixels.items()],
    ]:
        Table(lake, spec).commit(partition, pa.Table.from_pylist(rows, schema=spec.schema), {"version": "v1"})
    return {"dataset": dataset, "version": "v1", "split_id": "s1"}


def write_features(lake: Storage, dataset: str, transform: ImageTransform, features: FeatureSet) -> None:
    """What the preprocess job makes of the examples that are there."""
    examples = Table(lake, examples_table(dataset)).read({"transform_hash": transform.hash})
    pixels = [np.frombuffer(data, np.uint8).reshape(transform.shape) for data in examples["pixels"].to_pylist()]
    spec = features_table(dataset)
    for feature in features.features:
        partition = {"transform_hash": transform.hash, "feature_hash": feature.hash}
        values = [feature.to_bytes(feature.extract(image)) for image in pixels]
        columns = {"content_id": examples["content_id"].to_pylist(), "values": values, "reason": [None] * len(values)}
        rows = pa.table(columns | {name: [value] * len(values) for name, value in partition.items()})
        Table(lake, spec).commit(partition, rows.select(spec.schema.names).cast(spec.schema), {"version": "v1"})
