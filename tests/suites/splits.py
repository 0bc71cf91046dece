"""What the tests of the split share: options, ways to look at a result, plain rows."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa

from darkroom.contract import (
    OUT,
)
from darkroom.splitting import SplitOptions, checked_options


def options(**changes: Any) -> SplitOptions:
    return checked_options({"rebalance": "none", **changes})


def rows_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["content_id"]: row for row in table.to_pylist()}


def by_path(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in table.to_pylist()}


def crossing(images: pa.Table, table: pa.Table) -> set[str]:
    """Groups (of every file, also copies) and clusters that lie in more than one split."""
    split_of = {key: row["split"] for key, row in rows_of(table).items() if row["split"] != OUT}
    found = defaultdict(set)
    for row in images.to_pylist():
        if row["content_id"] in split_of and row["group"]:
            found["group " + row["group"]].add(split_of[row["content_id"]])
    for row in table.to_pylist():
        if row["content_id"] in split_of and row["duplicate_cluster"]:
            found["cluster " + row["duplicate_cluster"]].add(row["split"])
    return {key for key, splits in found.items() if len(splits) > 1}


def plain(per_class: int, classes: str = "ab", **columns: Any) -> list[dict[str, Any]]:
    return [{"path": f"{label}/{n:04}.jpg", "label": label, **columns} for label in classes for n in range(per_class)]
