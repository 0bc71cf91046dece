"""What something current names, so that a vacuum leaves it: champions, newest splits, their datasets and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from darkroom import champions
from darkroom.contract import checked_name, images_table, splits_table
from darkroom.errors import InvalidRequest
from darkroom.storage import Storage
from darkroom.tables import Table


@dataclass
class KeptDataset:
    """Of one dataset: versions, splits, the addresses of their images and the content_ids in their splits."""

    versions: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)
    uris: set[str] = field(default_factory=set)
    contents: set[str] = field(default_factory=set)


@dataclass
class Kept:
    """What stays, whatever its age."""

    packages: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    transforms: set[str] = field(default_factory=set)
    datasets: dict[str, KeptDataset] = field(default_factory=dict)


def what_is_kept(lake: Storage, before: datetime) -> Kept:
    """What champions and the newest splits name, and what was made after ``before``.

    Every entry of the champion history counts, withdrawn ones too: predictions that they made are explained by them.
    Of each dataset: the newest version, and the newest split of each policy, from which the next one inherits.
    """
    kept = Kept()
    for dataset in _datasets(lake):
        kept.datasets[dataset] = _made_of(lake, dataset, before)
    for model in lake.folders("champions"):
        for entry in champions.history(lake, model):
            if entry["kind"] == "promoted":
                _champion(kept, entry)
    for dataset, found in kept.datasets.items():
        images, splits = Table(lake, images_table(dataset)), Table(lake, splits_table(dataset))
        for version in found.versions:
            found.uris |= set(images.read({"version": version}, columns=["uri"])["uri"].to_pylist())
        for split_id in found.splits:
            found.contents |= set(splits.read({"split_id": split_id}, columns=["content_id"])["content_id"].to_pylist())
    return kept


def _datasets(lake: Storage) -> list[str]:
    found = []
    for name in {*lake.folders("tables"), *lake.folders("raw")} - {"predictions"}:
        try:
            found.append(checked_name(name))
        except InvalidRequest:
            continue  # a folder that no dataset can have: none of ours, so nothing in it is looked at
    return sorted(found)


def _made_of(lake: Storage, dataset: str, before: datetime) -> KeptDataset:
    kept = KeptDataset()
    policies: set[str] = set()
    for commit in Table(lake, splits_table(dataset)).history():
        metadata = commit["metadata"] or {}
        if "split_id" not in metadata:
            continue
        policy = str(metadata.get("policy"))
        if policy not in policies or _young(commit, before):
            policies.add(policy)
            kept.splits.add(str(metadata["split_id"]))
            kept.versions.add(str(metadata["version"]))
    versions = [one for one in Table(lake, images_table(dataset)).history() if one["partition"]]
    for number, commit in enumerate(versions):
        if number == 0 or _young(commit, before):
            kept.versions.add(str(commit["partition"]["version"]))
    return kept


def _young(commit: Mapping[str, Any], before: datetime) -> bool:
    return datetime.fromtimestamp((commit["timestamp"] or 0) / 1000, UTC) > before


def _champion(kept: Kept, entry: Mapping[str, Any]) -> None:
    kept.packages.add(str(entry["package"]))
    kept.runs.add(str(entry["run_id"]))
    kept.transforms.add(str(entry["transform_hash"]))
    page = str(entry.get("details", {}).get("page") or "")
    kept.runs.update(page.split("/")[3:4])  # reports/training/<model>/<parent run>/gate.html
    if (dataset := kept.datasets.get(str(entry["dataset"]))) is not None:
        dataset.versions.add(str(entry["dataset_version"]))
        dataset.splits.add(str(entry["split_id"]))
