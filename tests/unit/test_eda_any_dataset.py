"""The EDA of any dataset: tiny, empty, broken, without labels, huge."""

from __future__ import annotations

import hashlib
import io
import json
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from darkroom.contract import IMAGES_SCHEMA
from darkroom.eda import build_eda
from darkroom.storage import Storage
from tests.suites.eda import File, build, jpeg, manifest, page_of

pytestmark = pytest.mark.unit


def it_needs_no_labels_and_no_given_splits(lake: Storage) -> None:
    summary, page = build(lake, [(f"{i}.jpg", jpeg(i, width=40 + 3 * i), None, None, None) for i in range(12)])
    assert summary["class_count"] == 0
    assert "No image has a label" in page
    assert "The source gives no splits" in page


def it_says_so_when_there_is_one_class_and_one_size(lake: Storage) -> None:
    _, page = build(lake, [(f"a/{i}.jpg", jpeg(i), "only", None, None) for i in range(6)])
    assert "Training needs at least two classes" in page
    assert "Every image is 48 × 40 pixels." in page


def it_survives_a_dataset_of_broken_files_alone(lake: Storage) -> None:
    summary, page = build(lake, [(f"a/{i}.jpg", b"no image" * i, "a", "train", None) for i in range(5)])
    assert summary["usable_images"] == 0
    assert summary["width"] == {"min": None, "median": None, "max": None}
    assert "None of the 5 files can be used" in page


def it_survives_an_empty_dataset(lake: Storage) -> None:
    summary, page = build(lake, [])
    assert summary["images"] == 0
    assert "There are no images" in page


def it_survives_one_image_and_a_flat_one(lake: Storage) -> None:
    flat = io.BytesIO()
    Image.new("L", (1, 1)).save(flat, "PNG")
    summary, _ = build(lake, [("a/1.png", flat.getvalue(), "a", "test", None)])
    assert summary["usable_images"] == 1


def it_goes_on_when_images_are_gone_from_the_lake(lake: Storage) -> None:
    table, contents = manifest([(f"{c}/{i}.jpg", jpeg(i), c, None, None) for i in range(9) for c in "ab"])

    def read(uri: str) -> bytes:
        if int(uri[-1], 16) % 2:
            raise FileNotFoundError(uri)
        return contents[uri]

    summary = build_eda(table, None, read, lake, "eda", "T")
    assert summary["unreadable_pictures"] > 0
    assert "could not be read from the lake" in page_of(lake)
    gone = build_eda(table, None, _gone, lake, "eda", "T")
    assert gone["unreadable_pictures"] == 9


def _gone(uri: str) -> bytes:
    raise FileNotFoundError(uri)


def it_names_uneven_classes_small_splits_a_shift_and_telling_sizes(lake: Storage) -> None:
    files: list[File] = []
    for i in range(120):
        given = "test" if i % 3 == 0 else "train"
        label, width = ("large", 90) if i % 4 else ("small", 30)
        picture = jpeg(i, width=width, height=width, bright=70 if given == "test" else 0)
        files.append((f"{i}.jpg", picture, label, given, None))
    _, page = build(lake, files)
    assert "3 images of large for each of small" in page
    assert "The test split has 40 usable images" in page
    assert "Images of test are brighter than those of train" in page
    assert "Image size tells classes apart" in page


def many(count: int, classes: int) -> pa.Table:
    """Rows of a large manifest; every image has the same bytes."""
    rng = np.random.default_rng(0)
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]
    labels = rng.integers(0, classes, count)
    values: dict[str, Any] = {
        "path": [f"train/{label}/{i}.jpg" for i, label in enumerate(labels)],
        "content_id": ids,
        "uri": ids,
        "label": [f"class {label:04d}" for label in labels],
        "given_split": [("train", "val", "test")[i % 3] for i in range(count)],
        "group": [f"{i % 3}-{i // 12}" for i in range(count)],
        "size_bytes": rng.integers(1000, 50000, count),
        "format": ["JPEG"] * count,
        "width": rng.integers(30, 2000, count),
        "height": rng.integers(30, 2000, count),
        "mode": ["RGB"] * count,
        "mean": rng.uniform(0, 255, count),
        "std": rng.uniform(0, 80, count),
        "min": rng.uniform(0, 10, count),
        "max": rng.uniform(200, 255, count),
        "phash": ["0" * 16] * count,
        "duplicate_cluster": [ids[i - i % 6] if i % 60 in (0, 3) else None for i in range(count)],
        "problem": [None if i % 100 else "truncated: it ends early" for i in range(count)],
        "version": ["v"] * count,
    }
    return pa.table({f.name: pa.array(values[f.name], type=f.type) for f in IMAGES_SCHEMA}, schema=IMAGES_SCHEMA)


def it_takes_60_000_images_of_1_000_classes_in_seconds_and_says_what_it_leaves_out(lake: Storage) -> None:
    table, picture = many(60_000, 1_000), jpeg(1)
    started = time.process_time()  # of this process, so that a busy machine does not fail the test
    summary = build_eda(table, None, lambda uri: picture, lake, "eda", "T")
    seconds = time.process_time() - started
    assert summary["class_count"] == 1_000
    assert len(summary["classes"]) == 50
    assert len(json.dumps(summary)) < 5_000
    page = page_of(lake)
    assert "the 12 largest of 1,000 classes" in page
    assert "the 40 largest of 1,000 classes" in page
    assert len(page) < 5_000_000
    assert seconds < 20, f"{seconds:.1f} s of CPU time"
