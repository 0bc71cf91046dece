"""Manifests for tests: rows of contract.IMAGES_SCHEMA without image files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from darkroom.contract import IMAGES_SCHEMA


def content(name: object) -> str:
    """A content_id."""
    return hashlib.sha256(str(name).encode()).hexdigest()


def manifest(rows: Iterable[dict[str, Any]], version: str = "v1") -> pa.Table:
    """A manifest; each row needs a path, the other columns have plain defaults."""
    filled = []
    for row in rows:
        told = {"content_id": content(row["path"]), "size_bytes": 1000, "width": 300, "height": 200, "format": "JPEG"}
        known = {**dict.fromkeys(IMAGES_SCHEMA.names), **told, **row, "version": version}
        known["uri"] = f"raw/test/blobs/{known['content_id']}"
        filled.append(known)
    return pa.Table.from_pylist(filled, schema=IMAGES_SCHEMA)


def random_manifest(images: int, seed: int = 0, *, version: str = "v1", dirty: bool = True) -> pa.Table:
    """A manifest with two classes 1 : 2.9, patients, near duplicates and, where ``dirty``, every kind of dirt.

    The first rows of a larger manifest of the same seed are those of a smaller one, but for duplicate clusters.
    """
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(images):
        draw = random.random(6)
        label = "NORMAL" if draw[0] < 0.26 else "PNEUMONIA"
        row = {
            "path": f"{label}/{number:06}.jpg",
            "content_id": content(f"{seed}/{number}"),
            "label": label,
            "group": f"{label}-{int(draw[1] * 2000) // 3}",
            "given_split": "test" if draw[2] < 0.12 else "val" if draw[2] < 0.14 else "train",
        }
        if dirty and number > 20:
            earlier = rows[int(draw[3] * number)]
            if draw[4] < 0.02:
                row["content_id"] = earlier["content_id"]
            elif draw[4] < 0.05:
                row["near"] = int(draw[3] * number)
            elif draw[4] < 0.06:
                row["problem"] = "truncated: 12 bytes are missing"
            elif draw[4] < 0.07:
                row["label"] = None
            elif draw[4] < 0.08:
                row["group"] = None
        rows.append(row)
    for row in rows:
        if "near" in row:
            partner = rows[row.pop("near")]
            cluster = partner.get("duplicate_cluster") or min(partner["content_id"], row["content_id"])
            for one in rows:
                if one["content_id"] in (partner["content_id"], row["content_id"]):
                    one["duplicate_cluster"] = cluster
    return manifest(rows, version)


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))
