"""From a manifest (a row a file) to contents (a row a distinct file content)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from darkroom.contract import REASON_CONTRADICTION, REASON_NO_LABEL, REASON_PROBLEM, TEST, TRAIN, VAL
from darkroom.errors import DataError

MANIFEST_COLUMNS = ["path", "content_id", "label", "given_split", "group", "duplicate_cluster", "problem"]

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass
class Contents:
    """The manifest, by content.

    ``files``: the manifest's rows, sorted by path, with ``content``, the row's position in ``rows``.
    ``rows``: one row a content, sorted by content_id, with path (the smallest), label, given_split, group (the
    smallest), duplicate_cluster, problem, and ``reason``: why it is in no split, or None.
    """

    files: pd.DataFrame
    rows: pd.DataFrame

    @property
    def usable(self) -> Flags:
        return self.rows["reason"].isna().to_numpy()

    def leave_out(self, which: Flags, reason: str) -> None:
        self.rows.loc[which, "reason"] = reason


def read_contents(images: pa.Table) -> Contents:
    """Contents of a manifest table; those with a problem, without a label or with two are marked so."""
    files = images.select(MANIFEST_COLUMNS).to_pandas().astype(object)
    files = files.where(files.notna(), None)
    files.loc[files["label"] == "", "label"] = None
    files.loc[files["group"] == "", "group"] = None
    files = files.sort_values(["path", "content_id"], kind="stable", ignore_index=True)
    codes, ids = pd.factorize(files["content_id"], sort=True)
    files["content"] = codes
    rows = pd.DataFrame({"content_id": np.asarray(ids, dtype=object)})
    grouped = files.groupby("content", sort=True)
    for column in ("path", "label", "duplicate_cluster", "problem"):
        rows[column] = _or_none(grouped[column].first())
    by_group = files.sort_values("group", na_position="last").groupby("content", sort=True)
    rows["group"] = _or_none(by_group["group"].first())
    rows["given_split"] = _strongest(files)
    rows["reason"] = pd.Series([None] * len(rows), dtype=object)
    contents = Contents(files, rows)
    contents.leave_out((grouped["label"].nunique() > 1).to_numpy(), REASON_CONTRADICTION)
    contents.leave_out(rows["label"].isna().to_numpy(), REASON_NO_LABEL)
    contents.leave_out(rows["problem"].notna().to_numpy(), REASON_PROBLEM)
    return contents


def check_contents(contents: Contents) -> None:
    """Raises DataError when no split can be made of these contents, whatever the options."""
    files, rows = contents.files, contents.rows
    if not len(files):
        raise DataError(
            "The manifest has no images. Expected at least two classes of images. Check the source's layout."
        )
    if files["label"].isna().all():
        raise DataError(
            f"The manifest has {len(files):,} images and no labels. Expected a class for each image. Put the images "
            "into one folder a class, or give a label map that finds the class in the path."
        )
    if rows["problem"].notna().all():
        kinds = files["problem"].str.partition(":")[0].value_counts()
        told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items()))
        raise DataError(
            f"All {len(files):,} images of the manifest have a problem ({told}). Expected images that decode. "
            "Check the source files."
        )
    classes = sorted(set(rows.loc[contents.usable, "label"]))
    if not classes:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rows["reason"].value_counts().items()))
        raise DataError(
            f"None of the {len(rows):,} distinct images can be used ({reasons}). Expected at least two classes of "
            "usable images. Correct the source."
        )
    if len(classes) == 1:
        raise DataError(
            f"All {int(contents.usable.sum()):,} usable images have the label {classes[0]!r}. Expected at least two "
            "classes. Check the folders, or the label map."
        )


def hash_order(keys: Iterable[str], seed: int, purpose: str) -> NDArray[np.uint64]:
    """A pseudo-random uint64 for each key: depends on the key, the seed and the purpose, and on nothing else."""
    prefix = hashlib.sha256(f"{seed}:{purpose}:".encode())
    found = []
    for key in keys:
        digest = prefix.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        found.append(int.from_bytes(digest.digest()[:8], "big"))
    return np.array(found, dtype=np.uint64)


def _strongest(files: pd.DataFrame) -> pd.Series:
    """The given split of each content; where its files are in several, test before val before train."""
    names = {TRAIN: 0, VAL: 1, TEST: 2}
    rank = files["given_split"].map(names).astype(float)
    back = {number: name for name, number in names.items()}
    return _or_none(rank.groupby(files["content"], sort=True).max().map(back))


def _or_none(values: pd.Series) -> pd.Series:
    plain = values.reset_index(drop=True).astype(object)
    return plain.where(plain.notna(), None)
