"""docs/model-results.md, from the figures in docs/model-results.json: nothing stands there that was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.models.rows import ROWS, SPEEDS, Row
from training.config import load_config

HEAD = """# What the models reach

Written by `make bench-models`, which measures what `docs/model-results.json` lacks and writes this page from it.
Two CPU cores, the configs as they come, nothing tuned to a set. Defaults are chosen on val and under simulated shifts
(`training/shifts.py`), never on a test split. Intervals are 95 % t intervals over seeds; of one seed there is none, and
on folds it is that of the folds (docs/experiments.md).
"""


def page(results: Sequence[dict[str, Any]]) -> str:
    """The whole page, Markdown."""
    parts = [HEAD]
    for row in ROWS:
        newest = {(one["config"], one["seed"]): one for one in results if one["row"] == row.name and _is_current(one)}
        mine = list(newest.values())
        parts += [
            f"## {row.title}",
            "",
            f"To reach: {row.aim}.",
            "",
            *(_table(row, mine) if mine else ["Not measured."]),
            "",
            *([row.note, ""] if row.note else []),
        ]
    for speed in SPEEDS:
        last = next((one for one in reversed(results) if one["row"] == speed.name), None)
        parts += [f"## {speed.title}", "", f"To reach: {speed.aim}.", ""]
        told = ["Not measured."] if last is None else [f"On {last['date']}:", "", "```text", last["text"], "```"]
        parts += [*told, ""]
    parts += ["## Looks at test images", "", "Each time that a config was measured where it is reported.", ""]
    parts += ["| date | row | config | seed | code | machine |", "|---|---|---|---|---|---|"]
    parts += [
        f"| {one['date']} | {one['row']} | {one['config']} | {one['seed']} | {one['code']} | {one['machine']} |"
        for one in sorted(
            (one for one in results if "config" in one),
            key=lambda one: (one["date"], one["row"], one["config"], one["seed"]),
        )
    ]
    return "\n".join(parts) + "\n"


def _is_current(one: dict[str, Any]) -> bool:
    """Whether it was measured with the config as it is now; others stay in the list of looks alone."""
    return bool(one["config_digest"] == load_config(one["config"]).digest)


def _table(row: Row, results: Sequence[dict[str, Any]]) -> list[str]:
    names = ["balanced_accuracy", "accuracy", "roc_auc", "ece"]
    heads = ["config", "seeds", "balanced accuracy", "accuracy", "ROC area", "ECE", "images", "minutes", "CPU-minutes"]
    heads += ["measured"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    configs = [name for name in row.configs if any(one["config"] == name for one in results)]
    for config in configs:
        mine = [one for one in results if one["config"] == config]
        cells = [(_over_folds if row.kfold else _over_seeds)(mine, name) for name in names]
        minutes = [np.mean([one[name] for one in mine]) for name in ("minutes", "cpu_minutes")]
        cells += [f"{mine[0]['images']:,}", *(f"{one:.1f}" for one in minutes), max(one["date"] for one in mine)]
        lines.append(f"| {config} | {len(mine)} | {' | '.join(cells)} |")
    return lines


def _over_folds(results: Sequence[dict[str, Any]], name: str) -> str:
    """The mean over seeds of what the folds give: all seeds see the same folds, and say nothing of other images."""
    found = [one["folds"][name] for one in results if name in one.get("folds", {})]
    if not found:
        return ""
    mean, low, high = (np.mean([one[part] for one in found]) for part in ("mean", "low", "high"))
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _over_seeds(results: Sequence[dict[str, Any]], name: str) -> str:
    from scipy.stats import t

    known = np.array([one["metrics"][name] for one in results if one["metrics"].get(name) is not None])
    if len(known) < 2:
        return "".join(f"{value:.3f}" for value in known)
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():.3f} ± {half:.3f}"
