"""A small dataset of good, odd and broken image files, as a download leaves it."""

from __future__ import annotations

import hashlib
import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from darkroom.contract import RAW_INDEX_SCHEMA, SPLITS_SCHEMA, images_table, raw_blob, raw_index, splits_table
from darkroom.storage import Storage
from darkroom.tables import Table

DATASET = "odds"


def picture(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """A picture unlike those of other seeds."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)  # type: ignore[arg-type]
    return target.getvalue()


def odd_files() -> dict[str, bytes]:
    """path -> bytes: 24 ordinary images in two classes and splits, and one of each oddity."""
    files = {
        f"{split}/{label}/{seed:02d}.jpg": encoded(picture(100 * number + seed, 90 + 7 * seed, 80 + 5 * seed))
        for number, (split, label) in enumerate((s, c) for s in ("train", "test") for c in ("cat", "dog"))
        for seed in range(6)
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    gray16 = Image.fromarray(np.asarray(picture(1).convert("L"), dtype=np.uint16) * 257)
    alpha = picture(2)
    alpha.putalpha(128)
    jpeg = files["train/cat/00.jpg"]
    return files | {
        "train/cat/cmyk.jpg": encoded(picture(3).convert("CMYK")),
        "train/cat/deep.png": encoded(gray16, "PNG"),
        "train/cat/glass.png": encoded(alpha, "PNG"),
        "train/cat/film.gif": encoded(picture(4), "GIF", save_all=True, append_images=[picture(5)]),
        "train/cat/turned.jpg": encoded(picture(6), exif=exif),
        "train/cat/cut.jpg": encoded(picture(7))[:1500],
        "train/cat/empty.jpg": b"",
        "train/cat/page.jpg": b"<html>404</html>",
        "train/cat/bomb.gif": b"GIF89a" + (60_000).to_bytes(2, "little") * 2 + encoded(picture(8), "GIF")[10:],
        "test/cat/copy.jpg": jpeg,  # also in train
        "train/dog/liar.jpg": files["train/cat/01.jpg"],  # another label for the same bytes
        "test/dog/again.jpg": encoded(picture(102, 104, 90), quality=60),  # near train/dog/02.jpg
        "loose.png": encoded(picture(9), "PNG"),  # no class
    }


def store(lake: Storage, files: dict[str, bytes], *, index: str = "first", seed: int = 0) -> str:
    """Put the files' blobs and an index, in an order that ``seed`` decides, into the lake; returns the index's path."""
    rows = []
    for path, data in files.items():
        content_id = hashlib.sha256(data).hexdigest()
        uri = raw_blob(DATASET, content_id)
        lake.write(uri, data)
        rows.append({"path": path, "content_id": content_id, "size_bytes": len(data), "uri": uri})
    random.Random(seed).shuffle(rows)
    return write_index(lake, rows, index)


def write_index(lake: Storage, rows: list[dict[str, object]], index: str = "first") -> str:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=RAW_INDEX_SCHEMA), sink)
    path = raw_index(DATASET, index)
    lake.write(path, sink.getvalue())
    return path


def simple_split(lake: Storage, version: str, split_id: str = "s1") -> list[str]:
    """Commit a split: usable labelled contents in turn to train, val and test, others out. Returns those in it."""
    images = Table(lake, images_table(DATASET)).read({"version": version}).to_pylist()
    rows = {}
    for row in images:
        usable = row["problem"] is None and row["label"] is not None
        part = ("train", "val", "test")[len(rows) % 3] if usable else "out"
        told = {
            name: row[name] for name in ("content_id", "path", "label", "given_split", "group", "duplicate_cluster")
        }
        told |= {
            "split": part,
            "reason": None if usable else "problem",
            "weight": 1.0,
            "copies": 1,
            "split_id": split_id,
        }
        rows.setdefault(row["content_id"], told)
    table = pa.Table.from_pylist(list(rows.values()), schema=SPLITS_SCHEMA)
    Table(lake, splits_table(DATASET)).commit({"split_id": split_id}, table, {})
    return sorted(row["content_id"] for row in rows.values() if row["split"] != "out")
