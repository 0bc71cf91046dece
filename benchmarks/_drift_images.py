"""What benchmarks/drift.py draws its days from: a trained small_cnn and the measurements of images that it never saw.

Each image is measured as it is and after each drift: decoded, changed, stored again with its own JPEG tables, then read
as any file that arrives. Everything is kept in one npz file a set, so that days are array work.
"""

from __future__ import annotations

import io
import os
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from PIL import Image

from darkroom.decode import ImageFile, one_thread
from darkroom.drift import Images
from darkroom.drift.images import NUMBERS
from darkroom.imagestats import measure
from darkroom.metrics import choose_threshold
from darkroom.model import load_package
from darkroom.package import PackageInfo, pack
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.storage import open_storage

ROOT = Path(__file__).resolve().parents[1]
XRAYS = ROOT.parent / "shared" / "data" / "chest-xray-224.zip"
CLASSES = ("NORMAL", "PNEUMONIA")
TRAIN, VAL, DRIFTED = 1000, 600, 1200  # images; the rest are only seen undrifted
PHANTOMS = 3600
SEED = 5

PLAIN, STORED = "as it is", "stored again"
MAGNITUDES: dict[str, tuple[float, ...]] = {
    "blur": (0.25, 0.5, 1.0, 1.5, 2.5),
    "gain": (0.97, 0.94, 0.9, 0.8, 0.7),
    "resolution": (0.95, 0.85, 0.7, 0.5, 0.35),
    "jpeg quality": (75, 60, 40, 20, 10),
    "inverted": (1.0,),
}
DRIFTS = [(PLAIN, 0.0), (STORED, 0.0), *((kind, value) for kind, values in MAGNITUDES.items() for value in values)]


@dataclass(frozen=True)
class Source:
    """Files of one set: how to read one, its class (index into CLASSES) and its patient."""

    name: str
    read: Callable[[int], bytes]
    truth: np.ndarray
    patient: np.ndarray


@dataclass(frozen=True)
class Measured:
    """Measurements of all images that were not trained on, for each drift.

    ``val`` are the first images, used to stop the training; ``patient`` (a number) and ``truth`` go with each image.
    Arrays of a drift may be shorter: only the first images of those that days are drawn from were changed.
    """

    name: str
    truth: np.ndarray
    patient: np.ndarray
    val: np.ndarray  # bool[N]
    drifted: np.ndarray  # bool[N]: measured after each drift, too
    threshold: float
    train: np.ndarray  # float32[T, D]: embeddings of images that were trained on
    values: dict[str, np.ndarray]  # drift key -> float32[M, 7 + 2 + D]
    mode: dict[str, np.ndarray]

    def images(self, drift: tuple[str, float]) -> tuple[Images, np.ndarray]:
        """The images after a drift, and their raw embeddings."""
        values, mode = self.values[key_of(drift)], self.mode[key_of(drift)]
        positive = values[:, len(NUMBERS) + 1] >= self.threshold
        label = np.where(positive, CLASSES[1], CLASSES[0])
        score = values[:, len(NUMBERS) : len(NUMBERS) + 2][np.arange(len(values)), positive.astype(int)]
        ids = [f"{number:06}" for number in range(len(values))]
        return Images(ids, values[:, : len(NUMBERS)], mode, label, score), values[:, len(NUMBERS) + 2 :]


def key_of(drift: tuple[str, float]) -> str:
    return f"{drift[0]} {drift[1]:g}"


def phantoms() -> Source:
    """Ordinary phantoms: no duplicates, no broken files. A file is drawn when it is read."""
    source = PhantomSource(images=PHANTOMS + 400, seed=SEED)
    plan = [planned for planned in phantom_plan(source) if planned.quirk is None][:PHANTOMS]
    truth = np.array([int(planned.finding is not None) for planned in plan])
    patient = np.array([str(planned.patient) for planned in plan])
    return Source("phantoms", lambda index: draw(source, plan[index]), truth, patient)


def xrays() -> Source | None:
    """The given training images, each content once; None where the set is not at hand."""
    if not XRAYS.is_file():
        return None
    archive = zipfile.ZipFile(XRAYS)
    seen: dict[tuple[int, int], str] = {}
    for member in archive.infolist():
        if re.search(r"/train/\w+/[^/]+\.jpe?g$", member.filename, re.IGNORECASE):
            seen.setdefault((member.CRC, member.file_size), member.filename)
    names = sorted(seen.values())
    files = [archive.read(name) for name in names]
    patient = [re.match(r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)", Path(name).name) for name in names]
    truth = np.array([int("/PNEUMONIA/" in name) for name in names])
    return Source("X-rays", files.__getitem__, truth, np.array([found[1] for found in patient if found]))


def change(data: bytes, drift: tuple[str, float]) -> bytes:
    """The file after a drift. Blur is in pixels of an image whose shorter side has 128."""
    kind, value = drift
    if kind == PLAIN:
        return data
    image = Image.open(io.BytesIO(data))
    tables = image.quantization
    pixels = np.asarray(image)
    if kind == "blur":
        sigma = value * min(pixels.shape[:2]) / 128
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
    elif kind == "gain":
        pixels = np.rint(pixels * value).astype(np.uint8)
    elif kind == "resolution":
        size = (max(1, round(pixels.shape[1] * value)), max(1, round(pixels.shape[0] * value)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    elif kind == "inverted":
        pixels = 255 - pixels
    out = io.BytesIO()
    how: dict[str, Any] = {"quality": int(value)} if kind == "jpeg quality" else {"qtables": tables}
    Image.fromarray(pixels).save(out, format="JPEG", **how)
    return out.getvalue()


_WORK: dict[str, Any] = {}


def _start(source: Source, package: bytes) -> None:
    one_thread()
    _WORK.update(source=source, model=load_package(open_storage("/tmp"), package, threads=1))


def _measure(task: tuple[list[tuple[str, float]], list[int]]) -> list[tuple[np.ndarray, list[str]]]:
    """For each drift the measurements of some images, and their modes."""
    drifts, rows = task
    files = [_WORK["source"].read(index) for index in rows]
    return [_measured_files([ImageFile(change(data, drift)) for data in files]) for drift in drifts]


def _measured_files(files: list[ImageFile]) -> tuple[np.ndarray, list[str]]:
    model, seen = _WORK["model"], [measure(file) for file in files]
    sizes = [len(file.data) for file in files]
    numbers = [
        [size if name == "size_bytes" else getattr(one, name) for name in NUMBERS]
        for one, size in zip(seen, sizes, strict=True)
    ]
    pixels = np.stack([model.transform.apply(file) for file in files])
    values = np.column_stack([numbers, model.predict(pixels), model.embed(pixels)])
    return values.astype(np.float32), [one.mode or "" for one in seen]


def _pixels(task: list[int]) -> np.ndarray:
    from training.config import load_config

    one_thread()
    transform = load_config("small_cnn").transform
    return np.stack([transform.apply(_WORK["source"].read(index)) for index in task])


def measured(source: Source, folder: Path, processes: int = 2) -> Measured:
    """Trains and measures, or takes what an earlier run left in the folder."""
    rng = np.random.default_rng(SEED)
    names, member = np.unique(source.patient, return_inverse=True)
    order = np.argsort(rng.permutation(len(names))[member], kind="stable")
    patients = source.patient[order]
    first = np.concatenate([[True], patients[1:] != patients[:-1]])
    starts = np.append(np.flatnonzero(first), len(order))
    train_end = int(starts[np.searchsorted(starts, TRAIN)])
    val_end = int(starts[np.searchsorted(starts, train_end + VAL)])
    train, rest = order[:train_end], order[train_end:]
    val = np.arange(len(rest)) < val_end - train_end
    drifted = (np.arange(len(rest)) >= val_end - train_end) & (np.arange(len(rest)) < val_end - train_end + DRIFTED)
    path = folder / f"{source.name}.npz"
    facts = Measured(source.name, source.truth[rest], member[rest], val, drifted, 0.5, np.zeros((0, 0)), {}, {})
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return _with(facts, {name: stored[name] for name in stored.files})
    started = time.monotonic()
    _WORK["source"] = source
    package, threshold = _trained(source, train, rest[val], processes)
    print(f"{source.name}: {len(train)} trained on in {time.monotonic() - started:.0f} s", flush=True)
    arrays: dict[str, np.ndarray] = {"threshold": np.array(threshold)}
    with get_context("fork").Pool(processes, _start, (source, package)) as pool:
        parts = pool.map(_measure, [(DRIFTS[:1], part.tolist()) for part in np.array_split(train, 50)])
        arrays["train"] = np.concatenate([part[0][0][:, len(NUMBERS) + 2 :] for part in parts])
        for rows, drifts in ((rest, DRIFTS[:1]), (rest[drifted], DRIFTS[1:])):
            tasks = [(drifts, part.tolist()) for part in np.array_split(rows, len(rows) // 20)]
            parts = pool.map(_measure, tasks, chunksize=1)
            for number, drift in enumerate(drifts):
                arrays[f"values {key_of(drift)}"] = np.concatenate([part[number][0] for part in parts])
                arrays[f"mode {key_of(drift)}"] = np.array([mode for part in parts for mode in part[number][1]])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    print(f"{source.name}: measured after {time.monotonic() - started:.0f} s", flush=True)
    return _with(facts, arrays)


def _with(facts: Measured, arrays: dict[str, np.ndarray]) -> Measured:
    keys = [key_of(drift) for drift in DRIFTS]
    values = {key: arrays[f"values {key}"] for key in keys}
    mode = {key: arrays[f"mode {key}"] for key in keys}
    return replace(facts, threshold=float(arrays["threshold"]), train=arrays["train"], values=values, mode=mode)


def _trained(source: Source, train: np.ndarray, val: np.ndarray, processes: int) -> tuple[bytes, float]:
    """The package of small_cnn, trained as train_model does, and its threshold. TensorFlow stays in a child process,
    since a process that has started it must not fork."""
    with get_context("fork").Pool(processes) as pool:
        parts = [pool.map(_pixels, np.array_split(rows, 2 * processes)) for rows in (train, val)]
    pixels = [np.concatenate(part) for part in parts]
    with get_context("fork").Pool(1) as pool:
        return pool.apply(_fit, (pixels, source.truth[train], source.truth[val]))


def _fit(pixels: list[np.ndarray], train_truth: np.ndarray, val_truth: np.ndarray) -> tuple[bytes, float]:
    from training.config import load_config
    from training.data import Examples
    from training.kinds.small_cnn import Config, network
    from training.networks.keras_engine import to_onnx, train_network

    config = load_config("small_cnn")
    assert isinstance(config, Config)

    def examples(images: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> Examples:
        names = [str(number) for number in range(len(truth))]
        return Examples(
            content_ids=names,
            pixels=images,
            truth=truth,
            weight=weight,
            copies=np.ones(len(truth), np.int64),
            group=names,
            classes=CLASSES,
        )

    weight = (len(train_truth) / (2 * np.bincount(train_truth)))[train_truth]
    parts = examples(pixels[0], train_truth, weight), examples(pixels[1], val_truth, np.ones(len(val_truth)))
    graph = to_onnx(train_network(config, partial(network, config.model), *parts, SEED)[0])
    info = PackageInfo(
        classes=CLASSES,
        positive_class=CLASSES[1],
        threshold=0.5,
        transform=config.transform.model_dump(mode="json"),
        transform_hash=config.transform.hash,
        dataset="drift",
        dataset_version="1",
        split_id="1",
        config=config.name,
        config_digest=config.digest,
        code_digest="0" * 16,
        seed=SEED,
        input_shape=config.transform.shape,
    )
    package = pack(info, graph)
    probabilities = load_package(open_storage("/tmp"), package, threads=2).predict(pixels[1])
    return package, choose_threshold(val_truth == 1, probabilities[:, 1])
