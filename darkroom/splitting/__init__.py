"""Splits a dataset version into train, val and test: stratified, without leaks, stable as the dataset grows.

    result = split(images, SplitOptions(seed=1), parent=None)
    result.table      # contract.SPLITS_SCHEMA, a row a distinct content
    result.summary    # counts, what was left out and why, the sampling of train

Images that share a file content, a group or a duplicate cluster, directly or through others, form a unit and never
part. docs/splitting.md tells the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from darkroom.contract import OUT, SPLITS_SCHEMA, TEST, TRAIN, VAL, stable_hash
from darkroom.errors import DataError
from darkroom.rebalance import rebalance
from darkroom.splitting import quotas, report
from darkroom.splitting.contents import Contents, Flags, Ints, check_contents, read_contents
from darkroom.splitting.options import Counts, Proportions, SplitOptions, checked_options
from darkroom.splitting.report import leaks_between_given_splits
from darkroom.splitting.units import FREE, NAME, NUMBER, Ties, inherit, inherited, keep_given_test

__all__ = [
    "Counts",
    "Proportions",
    "SplitOptions",
    "SplitResult",
    "checked_options",
    "identity",
    "leaks_between_given_splits",
    "rebalance",
    "split",
]


@dataclass(frozen=True)
class SplitResult:
    """A split: its identity, its rows (SPLITS_SCHEMA, sorted by content_id) and what was done (JSON data)."""

    split_id: str
    table: pa.Table
    summary: dict[str, Any]


def identity(version: str, options: SplitOptions, parent_id: str | None) -> str:
    """The split_id: 16 hex digits of the dataset version, the options and the parent's split_id."""
    return stable_hash({"version": version, "options": options.model_dump(mode="json"), "parent": parent_id})


def split(images: pa.Table, options: SplitOptions, parent: pa.Table | None = None) -> SplitResult:
    """Splits one dataset version. The result does not depend on the order of the rows.

    ``images``: IMAGES_SCHEMA, one version. ``parent``: SPLITS_SCHEMA, one split of an earlier version, whose
    assignments win. Raises DataError when the images cannot carry such a split.
    """
    contents = read_contents(images)
    check_contents(contents)
    parent_rows = parent.to_pandas() if parent is not None and parent.num_rows else None
    ties = Ties.of(contents)
    placed = np.full(len(contents.rows), FREE, dtype=np.int64)
    if parent_rows is not None:
        placed = inherited(contents, parent_rows)
    if options.keep_given_test:
        given = keep_given_test(contents, ties)
        _check_given(given, contents)
        placed[~contents.usable] = FREE
        placed[given] = NUMBER[TEST]
        ties = ties.only(contents.usable)
    kept = int((placed != FREE).sum()) if parent_rows is not None else 0
    if parent_rows is not None:
        placed, ties = inherit(contents, ties, placed, parent_rows)
    units = ties.units()
    classes = quotas.Classes.of(contents)
    _check_classes_left(classes)
    placed = quotas.assign(contents, classes, units, placed, options)
    quotas.check_minimum(classes, units, placed, options)
    rows = _rows(contents, placed)
    before = report.counts_by_split(rows)
    sampling = rebalance(rows, options.rebalance, options.seed)
    version, parent_id = _only(images, "version"), _only(parent, "split_id") if parent_rows is not None else None
    split_id = identity(version or "", options, parent_id)
    summary = {
        "split_id": split_id,
        "version": version,
        "parent": parent_id,
        "options": options.model_dump(mode="json"),
        "files": len(contents.files),
        "contents": len(contents.rows),
        "counts": before,
        "counts_after_rebalance": report.counts_by_split(rows),
        "sampling": sampling,
        "left_out": report.left_out(rows),
        "leaks_removed": report.leaks_removed(contents, rows),
        "contradictions": report.contradictions(contents),
        "near_duplicates_with_different_labels": report.mixed_clusters(rows),
        **report.unit_sizes(rows, units),
        "inherited": _inherited(kept, contents, rows, parent_rows),
        "notes": _notes(contents, options),
    }
    return SplitResult(split_id, _table(rows, split_id), summary)


def _check_given(given: Flags, contents: Contents) -> None:
    if not given.any():
        known = sorted(set(contents.files["given_split"].dropna()))
        raise DataError(
            f"keep_given_test was asked for, and no usable image lies in a given test split (given splits: "
            f"{', '.join(known) or 'none'}). Turn keep_given_test off, or check the layout."
        )


def _check_classes_left(classes: quotas.Classes) -> None:
    if len(classes.names) < 2:
        raise DataError(
            f"After leaks were removed, the usable images have {len(classes.names)} class: {', '.join(classes.names)}. "
            "Expected at least two. Look at the groups and duplicates: they tie whole classes together."
        )


def _rows(contents: Contents, placed: Ints) -> pd.DataFrame:
    rows = contents.rows.drop(columns="problem").copy()
    rows["split"] = np.where(contents.usable, np.array([*NAME, OUT])[placed], OUT)
    rows["weight"] = 1.0
    rows["copies"] = np.ones(len(rows), dtype=np.int32)
    return rows


def _table(rows: pd.DataFrame, split_id: str) -> pa.Table:
    rows = rows.assign(split_id=split_id)
    columns = [pa.array(rows[field.name], type=field.type, from_pandas=True) for field in SPLITS_SCHEMA]
    return pa.Table.from_arrays(columns, schema=SPLITS_SCHEMA)


def _only(table: pa.Table | None, column: str) -> str | None:
    """The one value of a partition column, or None where the column is not there."""
    if table is None or column not in table.column_names:
        return None
    values = table.column(column).unique().to_pylist()
    if len(values) > 1:
        raise DataError(
            f"A split takes one {column}; the table holds {len(values)}: {', '.join(map(str, values[:3]))}. "
            "Read one partition."
        )
    return values[0] if values else None


def _inherited(kept: int, contents: Contents, rows: pd.DataFrame, parent: pd.DataFrame | None) -> dict[str, int] | None:
    if parent is None:
        return None
    known = rows["content_id"].isin(parent["content_id"])
    return {
        "kept": kept,
        "new": int((~known).sum()),
        "gone": int((~parent["content_id"].isin(rows["content_id"])).sum()),
    }


def _notes(contents: Contents, options: SplitOptions) -> list[str]:
    notes = []
    given = contents.files["given_split"]
    if options.keep_given_test and (given == VAL).any():
        notes.append(
            f"The given val split of {int((given == VAL).sum()):,} images is not kept: val is carved from all images "
            f"outside the given test split."
        )
    if not options.keep_given_test and given.notna().any():
        notes.append(f"The given splits are not kept ({TRAIN}, {VAL} and {TEST} are drawn from all images).")
    return notes
