"""What is different about a challenger: its data, config and code against those of the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from darkroom.champions import Champion
from darkroom.codedigest import code_digest
from darkroom.contract import images_table, splits_table
from darkroom.storage import Storage
from darkroom.tables import Table


def changes_since(
    lake: Storage, plan: Mapping[str, Any], challenger: Mapping[str, Any], champion: Champion | None
) -> dict[str, Any]:
    """Small JSON-able facts; empty without a champion.

    ``data``: contents added, removed and labelled otherwise, and what is new in the split. ``config``: a row
    [option, before, now] for each that differs. ``code``: whether the code is another one. Metrics are not among them:
    the gate measures both models on the same images, and only that can be compared.
    """
    if champion is None:
        return {}
    return {
        "since": f"version {champion.version}, promoted {champion.promoted_at:%Y-%m-%d %H:%M} UTC",
        "data": _data(lake, plan, champion),
        "config": _config(champion.details.get("options") or {}, challenger.get("options") or {}),
        "code": champion.details.get("code_digest") != code_digest(),
    }


def _data(lake: Storage, plan: Mapping[str, Any], champion: Champion) -> dict[str, Any]:
    if plan["dataset"] != champion.dataset:
        return {"dataset": [champion.dataset, plan["dataset"]]}
    if (plan["version"], plan["split_id"]) == (champion.dataset_version, champion.split_id):
        return {}
    before, now = (_labels(lake, plan["dataset"], version) for version in (champion.dataset_version, plan["version"]))
    was, is_now = (_parts(lake, plan["dataset"], split_id) for split_id in (champion.split_id, plan["split_id"]))
    shared = before.keys() & now.keys()
    return {
        "version": [champion.dataset_version, plan["version"]],
        "split_id": [champion.split_id, plan["split_id"]],
        "images_added": len(now.keys() - shared),
        "images_removed": len(before.keys() - shared),
        "labels_changed": sum(before[content_id] != now[content_id] for content_id in shared),
        "train_added": sum(part == "train" != was.get(content_id) for content_id, part in is_now.items()),
        "test_added": sum(part == "test" != was.get(content_id) for content_id, part in is_now.items()),
    }


def _labels(lake: Storage, dataset: str, version: str) -> dict[str, str | None]:
    rows = Table(lake, images_table(dataset)).read({"version": version}, columns=["content_id", "label"])
    return dict(zip(rows["content_id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def _parts(lake: Storage, dataset: str, split_id: str) -> dict[str, str]:
    rows = Table(lake, splits_table(dataset)).read({"split_id": split_id}, columns=["content_id", "split"])
    return dict(zip(rows["content_id"].to_pylist(), rows["split"].to_pylist(), strict=True))


def _config(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[list[Any]]:
    old, new = _flat(before), _flat(now)
    return [[name, old.get(name), new.get(name)] for name in sorted(old | new) if old.get(name) != new.get(name)]


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
