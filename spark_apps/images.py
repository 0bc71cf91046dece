"""How images are spread over Spark's partitions."""

from __future__ import annotations


def partition_count(default_parallelism: int, images: int, least: int = 16) -> int:
    """Two partitions a core, so that a slow one does not hold up the rest; fewer where each would get a handful."""
    return max(1, min(2 * default_parallelism, -(-images // least)))
