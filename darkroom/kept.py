"""What something current names, so that a vacuum leaves it: champions, newest splits, their datasets and images."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from darkroom import champions
from darkroom.codedigest import code_digest
from darkroom.contract import checked_name, images_table, raw_blob, splits_table, training_reports
from darkroom.errors import InvalidRequest, ModelError
from darkroom.feedback import accepted_feedback
from darkroom.package import read_package
from darkroom.storage import Storage
from darkroom.tables import Table

log = logging.getLogger(__name__)


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
    receipts: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    transforms: set[str] = field(default_factory=set)
    datasets: dict[str, KeptDataset] = field(default_factory=dict)


def what_is_kept(lake: Storage, before: datetime) -> Kept:
    """What champions and the newest splits name, and what was made after ``before``.

    Every entry of the champion history counts, withdrawn ones too: predictions that they made are explained by them.
    Of each dataset: the newest version, the images that accepted feedback brings to the next one, and the newest split
    of each policy, from which the next one inherits. What this code trained on these splits stays with its receipts, so
    that it is not trained again.
    """
    kept = Kept()
    for dataset in _datasets(lake):
        kept.datasets[dataset] = _made_of(lake, dataset, before)
    for model in lake.folders("champions"):
        for entry in champions.history(lake, model):
            if entry["kind"] == "promoted":
                _champion(kept, entry)
    for model in lake.folders("packages"):
        _trainings(lake, kept, model, before)
    for dataset, found in kept.datasets.items():
        images, splits = Table(lake, images_table(dataset)), Table(lake, splits_table(dataset))
        for version in found.versions:
            found.uris |= set(images.read({"version": version}, columns=["uri"])["uri"].to_pylist())
        found.uris |= {raw_blob(dataset, content_id) for content_id in accepted_feedback(lake, dataset).added}
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
    kept.runs.update(_parent(entry.get("details", {})))
    if (dataset := kept.datasets.get(str(entry["dataset"]))) is not None:
        dataset.versions.add(str(entry["dataset_version"]))
        dataset.splits.add(str(entry["split_id"]))


def _trainings(lake: Storage, kept: Kept, model: str, before: datetime) -> None:
    """Packages that this code trained on a kept split; receipts of all kept packages, and the runs that they name."""
    for blob in lake.list(f"packages/{model}"):
        if blob.modified > before:
            kept.packages.add(blob.path)
        elif blob.path not in kept.packages:
            try:
                info = read_package(lake, blob.path).info
            except ModelError as error:
                log.warning("%s cannot be read, so nothing needs it: %s", blob.path, error.message)
                continue
            splits = kept.datasets.get(info.dataset, KeptDataset()).splits
            if info.code_digest == code_digest() and info.split_id in splits:
                kept.packages.add(blob.path)
    for blob in lake.list(training_reports(model, "receipts")):
        receipt = json.loads(lake.read(blob.path))
        named = receipt.get("challenger") or receipt
        if blob.modified > before or named.get("package") in kept.packages:
            kept.receipts.add(blob.path)
            kept.runs.add(str(named.get("run_id")))
            kept.runs.update(_parent(receipt))


def _parent(named: Mapping[str, Any]) -> list[str]:
    """The parent run in the address of a gate's page: reports/training/<model>/<parent run>/gate.html."""
    return str(named.get("page") or "").split("/")[3:4]
