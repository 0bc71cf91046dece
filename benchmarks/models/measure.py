"""Fits one config once, or on every fold, and measures it where it has not seen the images. One process, one answer.

python benchmarks/models/measure.py '{"row": "xray", "config": "hog_svm", "seed": 0, "dataset": …}'
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np

from darkroom.metrics import METRIC_NAMES, score
from darkroom.model import load_package
from darkroom.storage import Storage, open_lake
from training.config import TrainingConfig, load_config
from training.data import read_examples, read_split
from training.experiments.crossval import fold_path, over_folds
from training.experiments.fitting import fit_fold, fit_package
from training.experiments.folds import read_folds, share_of_test
from training.kinds import Job
from training.packaging import THREADS

FOLDS = 5
SHOWN = (*METRIC_NAMES, "ece")


def on_test(lake: Storage, task: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """Fits on the split's train, chooses on its val, and looks at its test."""
    split = read_split(lake, task["dataset"], task["split_id"])
    began = time.monotonic()
    made = fit_package(task, Job(lake, task["dataset"], split, config, task["seed"]))
    assert made is not None
    trained = time.monotonic() - began
    model = load_package(lake, made.built.path, package_id=made.built.package_id, threads=THREADS)
    test = read_examples(lake, task["dataset"], split, "test", model.transform)
    began = time.monotonic()
    probabilities = model.predict(test.pixels)
    speed = len(test) / (time.monotonic() - began)
    info = model.info
    found = score(test.truth, probabilities, info.classes, info.positive_class, info.threshold)
    val = {f"val_{name}": made.built.val[name] for name in SHOWN}
    told = {name: found[name] for name in SHOWN} | val | {"images_per_second": speed, "threshold": info.threshold}
    return {"images": len(test), "train_minutes": trained / 60, "metrics": told, "recall": found["recall"]}


def on_folds(lake: Storage, task: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """Every image once as a test image. All folds anew: what an earlier start left has no time of its own."""
    folds, _ = read_folds(lake, task["dataset"], task["version"], task["split_id"], FOLDS)
    results = []
    began = time.monotonic()
    for number, fold in enumerate(folds, 1):
        path = fold_path(task, config.once(), FOLDS, number)
        job = Job(lake, task["dataset"], fold, config.once(), task["seed"])
        results.append(fit_fold(task, path, job))
    ratio = float(np.mean([share_of_test(fold) for fold in folds]))
    tests = [result["test"] for result in results if result]
    told = {name: over_folds(name, tests, ratio) for name in SHOWN}
    return {
        "images": sum(int(test["count"]) for test in tests),
        "train_minutes": (time.monotonic() - began) / 60,
        "metrics": {name: found["mean"] for name, found in told.items() if found},
        "folds": {name: found for name, found in told.items() if found},
    }


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    task = json.loads(sys.argv[1])
    config = load_config(task["config"])
    task = {**task, "name": config.name, "model": task["row"], "key": "bench"}
    result = (on_folds if task["kfold"] else on_test)(open_lake(), task, config)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
