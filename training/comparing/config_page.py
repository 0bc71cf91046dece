"""The page of one config's run: how it does on test and val, where it is wrong, and how sure it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.html import Page, byte_size
from training.comparing import page_parts as parts
from training.comparing.comparison import Entry
from training.experiments.crossval_page import folds_part


def config_page(plan: Mapping[str, Any], entry: Entry, pictures: Mapping[str, bytes]) -> str:
    """One self-contained HTML page. ``pictures``: the charts of test as PNG, from ``training.packaging.figures_of``."""
    test = entry.test
    page = Page(
        f"{entry.config} on {plan['dataset']}", f"version {plan['version'][:12]}, split {plan['split_id'][:12]}"
    )
    parts.headline_tiles(page, test, plan["primary_metric"])
    page.section("Metrics")
    parts.metrics_of_parts(page, test, entry.val)
    parts.undefined_part(page, test)
    parts.class_table(page, {entry.config: test}, folded=False)
    if kfold := entry.result.get("kfold"):
        folds_part(page, kfold)
    page.section("Charts on test")
    parts.drawn_part(page, test, pictures)
    page.section("How sure it may be")
    parts.choices_part(page, entry.val, test)
    parts.answers_sections(page, entry, "this model")
    page.section("What it is")
    size = None if entry.package_bytes is None else byte_size(entry.package_bytes)
    page.facts(
        [
            ("kind", entry.result.get("kind")),
            ("threshold", test.info.threshold),
            ("temperature", test.info.temperature),
            ("time to train, seconds", entry.result["seconds"]),
            ("package", size),
            ("images a second", entry.images_per_second),
            ("MLflow run", entry.result["run_id"]),
            ("package id", entry.result["package_id"]),
        ]
    )
    return page.render()
