"""How hard is the phantom set? Balanced accuracy on unseen patients: a linear model, HOG + SVM and small_cnn.

    python benchmarks/phantom_difficulty.py --seeds 5 --train 900 --test 300

Every model sees the same images and the same split by patient. Limits that the set is built for: the linear model on
32×32 pixels stays under 0.85, small_cnn (64×64 gray, from scratch) clears 0.93. The exit code says whether both hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
from numpy.typing import NDArray

from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan

Pixels = NDArray[np.uint8]
LINEAR_LIMIT, CNN_LIMIT = 0.85, 0.93


@dataclass(frozen=True)
class Sample:
    """Gray images uint8[N, 64, 64], classes int[N] (1 = pneumonia) and a part for each: train, val or test."""

    pixels: Pixels
    classes: NDArray[np.int64]
    part: NDArray[np.str_]

    def of(self, part: str) -> tuple[Pixels, NDArray[np.int64]]:
        chosen = self.part == part
        return self.pixels[chosen], self.classes[chosen]


def make_sample(seed: int, train: int, test: int) -> Sample:
    """Ordinary phantoms only (no duplicates, no broken files), split by patient: train, a tenth as much val, test."""
    wanted = train + train // 10 + test
    source = PhantomSource(images=round(wanted * 1.08) + 200, seed=seed)
    plan = [planned for planned in phantom_plan(source) if planned.quirk is None][:wanted]
    patients = np.random.default_rng(seed).permutation(sorted({planned.patient for planned in plan}))
    order = {int(patient): place for place, patient in enumerate(patients)}
    plan.sort(key=lambda planned: (order[planned.patient], planned.index))
    pixels, classes = [], []
    for planned in plan:
        image = cv2.imdecode(np.frombuffer(draw(source, planned), np.uint8), cv2.IMREAD_GRAYSCALE)
        pixels.append(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
        classes.append(int(planned.finding is not None))
    borders = [0, *(_border(plan, at) for at in (test, test + train // 10)), wanted]
    part = np.empty(wanted, dtype="<U5")
    for name, start, end in zip(("test", "val", "train"), borders, borders[1:], strict=False):
        part[start:end] = name
    return Sample(np.stack(pixels), np.array(classes), part)


def _border(plan: list[Any], at: int) -> int:
    """The first place from ``at`` on where a new patient begins."""
    while plan[at].patient == plan[at - 1].patient:
        at += 1
    return at


def linear(sample: Sample) -> float:
    """Logistic regression on 32×32 pixels; its strength is chosen on val."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(pixels: Pixels) -> NDArray[np.float32]:
        small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA) for image in pixels]
        return np.stack(small).reshape(len(small), -1).astype(np.float32) / 255

    def model(strength: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=400))

    return _best_on_val(sample, features, [model(10.0**power) for power in (-4, -3, -2, 0)])


def hog_svm(sample: Sample) -> float:
    """HOG and a support vector machine; its strength is chosen on val."""
    from skimage.feature import hog
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def features(pixels: Pixels) -> NDArray[np.float32]:
        found = [hog(image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2)) for image in pixels]
        return np.stack(found).astype(np.float32)

    models = [make_pipeline(StandardScaler(), SVC(C=strength, class_weight="balanced")) for strength in (0.3, 1, 10)]
    return _best_on_val(sample, features, models)


def _best_on_val(sample: Sample, features: Any, models: list[Any]) -> float:
    from sklearn.metrics import balanced_accuracy_score

    parts = {part: (features(sample.of(part)[0]), sample.of(part)[1]) for part in ("train", "val", "test")}
    fitted = [model.fit(*parts["train"]) for model in models]
    best = max(fitted, key=lambda model: balanced_accuracy_score(parts["val"][1], model.predict(parts["val"][0])))
    return float(balanced_accuracy_score(parts["test"][1], best.predict(parts["test"][0])))


def small_cnn(sample: Sample, seed: int) -> float:
    """The training config small_cnn as train_model trains it: class weights, the best epoch chosen on val."""
    import onnxruntime
    from sklearn.metrics import balanced_accuracy_score

    from training.config import load_config
    from training.data import Examples
    from training.kinds.small_cnn import Config, network
    from training.networks.keras_engine import to_onnx, train_network

    def examples(part: str) -> Examples:
        pixels, classes = sample.of(part)
        names = [f"{part} {number}" for number in range(len(pixels))]
        weight = (len(classes) / (2 * np.bincount(classes)))[classes] if part == "train" else np.ones(len(classes))
        ones = np.ones(len(classes), np.int64)
        return Examples(
            content_ids=names,
            pixels=pixels[..., None],
            truth=classes,
            weight=weight,
            copies=ones,
            group=names,
            classes=("NORMAL", "PNEUMONIA"),
        )

    config = load_config("small_cnn")
    assert isinstance(config, Config)
    graph = to_onnx(train_network(config, partial(network, config.model), examples("train"), examples("val"), seed)[0])
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    test = examples("test")
    probabilities = session.run(None, {session.get_inputs()[0].name: test.pixels})[0]
    return float(balanced_accuracy_score(test.truth, probabilities.argmax(axis=1)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this number minus one")
    parser.add_argument("--train", type=int, default=900, help="training images")
    parser.add_argument("--test", type=int, default=300, help="test images, of other patients")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows: dict[str, list[float]] = {"linear, 32×32": [], "HOG + SVM": [], "small_cnn, 64×64": []}
    print(f"{'seed':>4} " + " ".join(f"{name:>18}" for name in rows) + "   seconds: draw, small_cnn (CPU)")
    for seed in range(options.seeds):
        started = time.process_time()
        sample = make_sample(seed, options.train, options.test)
        drawn = time.process_time() - started
        rows["linear, 32×32"].append(linear(sample))
        rows["HOG + SVM"].append(hog_svm(sample))
        started = time.process_time()
        rows["small_cnn, 64×64"].append(small_cnn(sample, seed))
        trained = time.process_time() - started
        figures = " ".join(f"{values[-1]:18.3f}" for values in rows.values())
        print(f"{seed:4d} {figures}   {drawn:.1f}, {trained:.1f}", flush=True)
    for name, reduce in (("mean", np.mean), ("min", np.min), ("max", np.max)):
        print(f"{name:>4} " + " ".join(f"{reduce(values):18.3f}" for values in rows.values()))
    holds = max(rows["linear, 32×32"]) < LINEAR_LIMIT and min(rows["small_cnn, 64×64"]) > CNN_LIMIT
    print(f"linear under {LINEAR_LIMIT} and small_cnn over {CNN_LIMIT} for every seed: {'yes' if holds else 'NO'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
