"""A small table of the contract's kind and rows for it."""

from __future__ import annotations

import random

import pyarrow as pa

from darkroom.contract import TableSpec

SPEC = TableSpec(
    "tables/cats/predictions",
    pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("pixels", pa.binary()),
            pa.field("score", pa.float64()),
            pa.field("count", pa.int32(), nullable=False),
            pa.field("probabilities", pa.list_(pa.float64())),
            pa.field("at", pa.timestamp("us", tz="UTC")),
            pa.field("dt", pa.string(), nullable=False),
            pa.field("feed", pa.string(), nullable=False),
        ]
    ),
    ("dt", "feed"),
    ("key",),
)
PARTITION = {"dt": "2026-01-01", "feed": "clinic"}
OTHER = {"dt": "2026-01-02", "feed": "clinic"}


def rows(count: int, tag: str = "a", *, seed: int = 0) -> pa.Table:
    """``count`` rows in shuffled order, without the partition columns."""
    numbers = random.Random(seed).sample(range(count), count)
    return pa.table(
        [
            [f"{tag}{number:05}" for number in numbers],
            [f"{tag}{number}".encode() * 10 for number in numbers],
            [None if number % 3 == 0 else number / 7 for number in numbers],
            pa.array(numbers, pa.int32()),
            [None if number % 5 == 0 else [number / 9, 1.0] for number in numbers],
            pa.array(numbers, pa.timestamp("us", tz="UTC")),
        ],
        schema=pa.schema([field for field in SPEC.schema if field.name not in SPEC.partition_by]),
    )
