"""A page that lists partitions and what a run does, or would do, with each: dry runs and reconciles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.html import Page, plural


def partitions_page(title: str, sentence: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One self-contained HTML page; ``rows`` are those of spark_apps.preview."""
    page = Page(title).text(sentence)
    writes = [row for row in rows if row["would"] == "write"]
    page.tiles(
        [
            ("partitions", len(rows), "dates of feeds"),
            ("to write", len(writes), plural(sum(row["images"] for row in writes), "image")),
            ("to skip", len(rows) - len(writes), "the rows that are there stay"),
        ]
    )
    page.section("Partitions")
    if not rows:
        page.text("There is nothing to do.")
        return page.render()
    names = ("dt", "feed", "images", "model", "model_version", "mode", "would", "why")
    head = ["date", "feed", "images", "model", "version", "chosen by", "outcome", "why"]
    page.table(head, [[row[name] for name in names] for row in rows])
    return page.render()
