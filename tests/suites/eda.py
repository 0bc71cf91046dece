"""What the tests of the EDA share: files, their manifest, the page that is made of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from darkroom.contract import IMAGES_SCHEMA
from darkroom.duplicates import find_clusters
from darkroom.eda import build_eda
from darkroom.imagestats import measure
from darkroom.storage import Storage

EVIL = '<script>alert(1)</script> $x$ & "q"'
File = tuple[str, bytes, str | None, str | None, str | None]  # path, content, label, given split, group


def jpeg(seed: int, *, width: int = 48, height: int = 40, mode: str = "L", bright: int = 0, quality: int = 90) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 180, (8, 8) if mode == "L" else (8, 8, 3)).astype(np.uint8)
    image = Image.fromarray(coarse + np.uint8(bright), mode).resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def manifest(files: Iterable[File], version: str = "v1") -> tuple[pa.Table, dict[str, bytes]]:
    """What the manifest step makes of these files, and their contents by uri."""
    rows, contents, seen = [], {}, {}
    for path, data, label, given, group in files:
        content_id, found = hashlib.sha256(data).hexdigest(), measure(data)
        contents[f"raw/{content_id}"] = data
        if found.thumbnail is not None:
            seen[content_id] = (found.phash, found.thumbnail)
        told = {
            name: getattr(found, name) for name in ("format", "width", "height", "mode", "mean", "std", "min", "max")
        }
        rows.append({"path": path, "content_id": content_id, "uri": f"raw/{content_id}", "label": label,
                     "given_split": given, "group": group, "size_bytes": len(data), "phash": found.phash,
                     "problem": found.problem, "version": version, **told})  # fmt: skip
    pixels = np.stack([pair[1] for pair in seen.values()]) if seen else np.zeros((0, 32, 32), np.uint8)
    clusters = find_clusters(list(seen), [str(pair[0]) for pair in seen.values()], pixels).cluster_of
    for row in rows:
        row["duplicate_cluster"] = clusters.get(row["content_id"])
    return pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA).sort_by("path"), contents


def page_of(lake: Storage, folder: str = "eda") -> str:
    return lake.read(f"{folder}/index.html").decode()


def build(lake: Storage, files: list[File], splits: pa.Table | None = None, **more: Any) -> tuple[dict[str, Any], str]:
    table, contents = manifest(files)
    summary = build_eda(table, splits, contents.__getitem__, lake, "eda", "T", **more)
    return summary, page_of(lake)
