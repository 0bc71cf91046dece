"""What drift is measured from: the validation images as the model and the manifest see them.

The projection of the features is fitted to training images: one fitted to val would make all other images look far.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.contract import TRAIN, VAL, images_table
from darkroom.drift import Images, Projection, Reference, build_reference, choose_images, pixel_statistics
from darkroom.drift.images import NUMBERS
from darkroom.metrics import predict_labels
from darkroom.model import Model
from darkroom.package import PackageInfo
from darkroom.storage import Storage
from darkroom.tables import Table
from training.data import Examples, read_examples

TRAIN_IMAGES = 2000


def val_reference(
    lake: Storage, model: Model, info: PackageInfo, split: pa.Table, val: Examples, probabilities: np.ndarray
) -> Reference:
    """The drift reference of a model. ``info`` holds its threshold; ``probabilities`` float[N, classes] on val.

    Sizes and intensities are those that the manifest measured; no image is read again. Near duplicates count once.
    """
    part = split.filter(pc.equal(split["split"], VAL))
    cluster = dict(zip(part["content_id"].to_pylist(), part["duplicate_cluster"].to_pylist(), strict=True))
    rows = choose_images(val.content_ids, val.group, [cluster[key] for key in val.content_ids])
    ids = [val.content_ids[row] for row in rows.tolist()]
    names = np.array(val.classes)
    positive = None if info.positive_class is None else val.classes.index(info.positive_class)
    chosen = predict_labels(probabilities[rows], positive, info.threshold)
    score = probabilities[rows, chosen].astype(np.float32)
    train = read_examples(lake, info.dataset, _some_of_train(split), TRAIN, model.transform)
    return build_reference(
        Images(ids, *_measured(lake, info, ids), names[chosen], score),
        names[val.truth[rows]].tolist(),
        [val.group[row] for row in rows.tolist()],
        val.classes,
        "embedding" if model.can_embed else "pixels",
        Projection.fit(_raw(model, train.pixels)),
        _raw(model, val.pixels[rows]),
    )


def _raw(model: Model, pixels: np.ndarray) -> np.ndarray:
    return model.embed(pixels) if model.can_embed else pixel_statistics(pixels)


def _some_of_train(split: pa.Table) -> pa.Table:
    """The split with at most about TRAIN_IMAGES of train, as many of each class: those with the smallest ids."""
    labels, parts = split["label"].to_pylist(), split["split"].to_pylist()
    most = max(1, TRAIN_IMAGES // len(set(labels)))
    seen: Counter[str] = Counter()
    kept = np.ones(split.num_rows, dtype=bool)
    for row in np.argsort(np.array(split["content_id"].to_pylist()), kind="stable").tolist():
        if parts[row] == TRAIN:
            seen[labels[row]] += 1
            kept[row] = seen[labels[row]] <= most
    return split.filter(pa.array(kept))


def _measured(lake: Storage, info: PackageInfo, content_ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """float32[N, 7] and Pillow's modes, from the manifest; NaN and "" where it does not know."""
    table = Table(lake, images_table(info.dataset))
    columns = ["content_id", *NUMBERS, "mode"]
    found = {
        row["content_id"]: row for row in table.read({"version": info.dataset_version}, columns=columns).to_pylist()
    }
    rows = [found.get(key, {}) for key in content_ids]
    numbers = [[np.nan if row.get(name) is None else row[name] for name in NUMBERS] for row in rows]
    return np.array(numbers, dtype=np.float32), np.array([row.get("mode") or "" for row in rows])
