"""Whether two lakes hold equal rows: ``python -m infra.stack.compare LAKE_A LAKE_B DATASET``.

Compares manifest, split, examples and predictions: same rows, same values, same order. Left out is what says when and
by which training run a prediction was made. A lake on S3 is reached with DARKROOM_S3_*.
"""

from __future__ import annotations

import argparse
import sys

from darkroom.contract import TableSpec, examples_table, images_table, predictions_table, splits_table
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table

NOT_COMPARED = {"predicted_at", "etag", "run_id"}


def compare(one: Storage, other: Storage, dataset: str) -> dict[str, int]:
    """Rows of each table, which are equal. Raises ValueError that names the first column that differs, and its row."""
    specs = {
        "manifest": images_table(dataset),
        "split": splits_table(dataset),
        "examples": examples_table(dataset),
        "predictions": predictions_table(dataset),
    }
    return {name: _compare_table(one, other, spec) for name, spec in specs.items()}


def _compare_table(one: Storage, other: Storage, spec: TableSpec) -> int:
    left, right = (Table(lake, spec).read() for lake in (one, other))  # in the table's order
    if left.num_rows != right.num_rows:
        raise ValueError(f"{spec.path} has {left.num_rows:,} rows in {one.root} and {right.num_rows:,} in {other.root}")
    for name in left.column_names:
        if name in NOT_COMPARED or left[name].equals(right[name]):
            continue
        pairs = enumerate(zip(left[name].to_pylist(), right[name].to_pylist(), strict=True))
        row, (here, there) = next((row, pair) for row, pair in pairs if pair[0] != pair[1])
        raise ValueError(f"{spec.path}: {name} of row {row:,} is {here!r:.80}, not {there!r:.80}")
    return int(left.num_rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.stack.compare", description=__doc__)
    for name in ("one", "other", "dataset"):
        parser.add_argument(name)
    asked = parser.parse_args()
    try:
        rows = compare(open_storage(asked.one), open_storage(asked.other), asked.dataset)
    except ValueError as error:
        print(f"differ: {error}", file=sys.stderr)
        return 1
    print("equal: " + ", ".join(f"{name} {count:,} rows" for name, count in rows.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
