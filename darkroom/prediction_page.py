"""The page and the summary of one date's predictions: what arrived, how it was classified, what could not be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from darkroom.contract import prediction_reports
from darkroom.html import Page, number, percent, plural
from darkroom.palette import class_colors
from darkroom.storage import Storage
from darkroom.tables import Table


def write_summary(lake: Storage, summary: dict[str, Any]) -> dict[str, Any]:
    """Puts summary.json and index.html beside each other and returns what the task keeps of them."""
    folder = prediction_reports(summary["model"], summary["dt"], summary["feed"])
    lake.write(f"{folder}/summary.json", json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False).encode())
    lake.write(f"{folder}/index.html", prediction_page(summary).encode())
    kept = {name: value for name, value in summary.items() if name != "bad_files"}
    return {**kept, "page": f"{folder}/index.html", "summary": f"{folder}/summary.json"}


def show_standing(table: Table, partition: Mapping[str, str], shown: Mapping[str, Any] | None = None) -> None:
    """Makes page and summary those of the partition's newest commit; ``shown`` is the summary that was written last.

    Whoever writes a page calls this afterwards: of several runs that end together, none leaves the page of rows that
    were replaced.
    """
    while (last := table.last_commit(partition)) is not None and last.get("summary") not in (None, shown):
        shown = last["summary"]
        write_summary(table.storage, last["summary"])


def prediction_page(summary: Mapping[str, Any]) -> str:
    """One self-contained HTML page from the summary of the predict job."""
    page = Page(f"{summary['feed']} on {summary['dt']}", f"classified by {summary['model']} {summary['model_version']}")
    speed = summary["images_per_second"]
    page.tiles(
        [
            ("images", summary["images"], "arrived"),
            ("classified", summary["classified"], ""),
            ("unreadable", summary["problems"], "rows with a problem and no label"),
            (
                "speed",
                "–" if speed is None else f"{number(speed)} / s",
                f"{number(summary['seconds'])} s of work",
            ),
        ]
    )
    if summary["incomplete"]:
        told = "had not all arrived when the wait for them ended: zero rows were written."
        page.callout("warning", f"The images of {summary['dt']} {told} Run the date again when they are there.")
    elif not summary["images"]:
        page.callout("warning", f"No images had arrived for {summary['dt']}: zero rows were written.")
    for sentence in summary.get("told", []):
        page.callout("note", f"{sentence[0].upper()}{sentence[1:]}")
    labels = summary["labels"]
    if labels:
        page.section("Labels")
        colors = class_colors(labels)
        rows = [[label, count, percent(summary["label_shares"][label])] for label, count in labels.items()]
        page.table(["label", "images", "share"], rows, colors=[colors[label] for label in labels])
    if summary["problems"]:
        page.section("Problems")
        page.text(f"{plural(summary['problems'], 'file')} could not be read as images. They are rows without a label.")
        page.table(["problem", "files"], list(summary["problem_kinds"].items()))
        title = f"The first {plural(len(summary['bad_files']), 'file')}"
        page.table(["path", "problem"], summary["bad_files"], title=title, folded=True)
    page.section("Where it came from")
    page.facts(
        [
            ("model", f"{summary['model']} version {summary['model_version']}"),
            ("how it was chosen", summary.get("mode", "newest")),
            ("model package", summary["package_id"]),
            ("trained on dataset version", summary["dataset_version"]),
            ("transform", summary["transform_hash"]),
            ("rows in", f"{summary['table']}, dt={summary['dt']}, feed={summary['feed']}, origin=batch"),
            ("predicted at (UTC)", summary["predicted_at"]),
            ("seconds with start-up", summary["total_seconds"]),
        ]
    )
    return page.render()
