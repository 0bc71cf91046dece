"""What training reads: the images of a split with their pixels, as arrays, from the tables of the lake."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.contract import OUT, SPLITS, TRAIN, examples_table, splits_table
from darkroom.errors import DataError
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from training.units import TIES, named_units

log = logging.getLogger(__name__)

IN_MEMORY_BYTES = 2 * 2**30
"""Pixels of more than this are kept in a temporary file that is mapped into memory."""

ROWS_PER_READ = 256


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The images of a part of a split, in the order of content_id.

    ``truth`` int64[N], indices into ``classes``; ``weight`` float64[N], the loss weight; ``copies`` int64[N], how often
    an epoch shows the image; ``group`` the name of each image's unit (``training.units``): its group where it has one
    and no near duplicate elsewhere, its own content_id where nothing is tied to it.
    """

    content_ids: list[str]
    truth: np.ndarray
    weight: np.ndarray
    copies: np.ndarray
    group: list[str]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.content_ids)


@dataclass(frozen=True, kw_only=True)
class Examples(Rows):
    """Images with their ``pixels``, uint8[N, H, W, C]."""

    pixels: np.ndarray


def equal_classes(truth: np.ndarray, classes: int) -> np.ndarray:
    """float64[N]: weights of images under which each class weighs 1, however many images it has.

    ``truth`` int[N], indices below ``classes``.
    """
    weights: np.ndarray = (1.0 / np.maximum(np.bincount(truth, minlength=classes), 1))[truth]
    return weights


def read_split(lake: Storage, dataset: str, split_id: str) -> pa.Table:
    """The rows of one split, those that are out left out. Raises DataError where there are none."""
    table = Table(lake, splits_table(dataset)).read({"split_id": split_id})
    if table.num_rows == 0:
        raise DataError(f"The dataset {dataset!r} has no split {split_id!r}. Run prepare_dataset for it first.")
    return table.filter(pc.not_equal(table["split"], OUT))


def class_names(split: pa.Table) -> tuple[str, ...]:
    """The classes of a split, sorted. Raises DataError if training lacks one or there are fewer than two."""
    classes = sorted(set(split["label"].to_pylist()))
    trained = set(split.filter(pc.equal(split["split"], TRAIN))["label"].to_pylist())
    if len(classes) < 2:
        raise DataError(f"The split has the classes {classes}. A classifier needs at least two. Check the labels.")
    if missing := [name for name in classes if name not in trained]:
        raise DataError(f"The training split has no image of {missing}. Expected every class. Change the proportions.")
    return tuple(classes)


def part_rows(split: pa.Table, part: str) -> Rows:
    """What a split says of one part of it (train, val or test). Raises DataError for a part without images."""
    if part not in SPLITS:
        raise DataError(f"There is no part {part!r} of a split. Expected one of {', '.join(SPLITS)}.")
    classes = class_names(split)
    rows = split.filter(pc.equal(split["split"], part))
    if rows.num_rows == 0:
        raise DataError(f"The split has no image in {part}. Give it a share, or more images.")
    ids = rows["content_id"].to_pylist()
    class_index = {name: k for k, name in enumerate(classes)}
    return Rows(
        content_ids=ids,
        truth=np.array([class_index[label] for label in rows["label"].to_pylist()], dtype=np.int64),
        weight=rows["weight"].to_numpy().astype(np.float64),
        copies=rows["copies"].to_numpy().astype(np.int64),
        group=named_units(ids, rows.select(["content_id", *TIES]).to_pandas()),
        classes=classes,
    )


def read_examples(
    lake: Storage, dataset: str, split: pa.Table, part: str, transform: ImageTransform, scratch: Path | None = None
) -> Examples:
    """The images of one part of a split (train, val or test) with their pixels.

    Reads Parquet in small batches straight into one array, which is a temporary file in ``scratch`` when it is large.
    Raises DataError for a part without images, or when an image has no example for this transform.
    """
    rows = part_rows(split, part)
    ids = rows.content_ids
    position = {content_id: index for index, content_id in enumerate(ids)}
    pixels = _array((len(ids), *transform.shape), scratch)
    found = np.zeros(len(ids), dtype=bool)
    for batch in _batches(lake, dataset, transform):
        where = [position.get(key, -1) for key in batch["content_id"].to_pylist()]
        chosen = [index for index, target in enumerate(where) if target >= 0]
        for index in chosen:
            pixels[where[index]] = _decoded(batch["pixels"][index], transform, ids[where[index]])
        found[[where[index] for index in chosen]] = True
    if not found.all():
        first = ids[int(np.flatnonzero(~found)[0])]
        raise DataError(
            f"{int((~found).sum()):,} of {len(ids):,} {part} images of {dataset} have no example for the transform "
            f"{transform.hash}, {first[:12]} among them. Expected one each. Run the preprocessing step for this config."
        )
    return Examples(pixels=pixels, **vars(rows))


def _batches(lake: Storage, dataset: str, transform: ImageTransform) -> Iterator[pa.RecordBatch]:
    prefix = lake.uri("").rstrip("/") + "/"
    for uri in Table(lake, examples_table(dataset)).files({"transform_hash": transform.hash}):
        with lake.open(uri.removeprefix(prefix)) as stream, pq.ParquetFile(stream) as file:
            yield from file.iter_batches(batch_size=ROWS_PER_READ, columns=["content_id", "pixels"])


def _decoded(value: pa.Scalar, transform: ImageTransform, content_id: str) -> np.ndarray:
    flat = np.frombuffer(value.as_buffer(), dtype=np.uint8)
    if flat.size != int(np.prod(transform.shape)):
        raise DataError(
            f"The example of {content_id[:12]} has {flat.size:,} bytes. Expected {transform.shape} of uint8. "
            "Run the preprocessing step again."
        )
    return flat.reshape(transform.shape)


def _array(shape: tuple[int, ...], scratch: Path | None) -> np.ndarray:
    size = int(np.prod(shape))
    if size <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype=np.uint8)
    log.info("%s bytes of pixels go through a temporary file.", f"{size:,}")
    with tempfile.TemporaryFile(dir=scratch) as file:  # the mapping keeps the unnamed file alive
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
