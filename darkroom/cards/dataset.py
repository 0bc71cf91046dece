"""The dataset card: what a dataset version and its split hold, where it came from, what was found and left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from darkroom.cards.layout import Card, Section, owners_part
from darkroom.contract import SPLITS, dataset_reports, images_table, splits_table
from darkroom.errors import DataError
from darkroom.html import plural
from darkroom.lineage.records import Records
from darkroom.storage import Storage

_FEW = 50  # images of a class: fewer are named as a limit


def write_dataset_card(lake: Storage, dataset: str, version: str, split_id: str) -> str:
    """Makes the card from the lake's records and leaves it beside the split's reports; returns its page's path.

    Raises DataError where the version or the split is not there.
    """
    card = dataset_card(lake, dataset, version, split_id)
    return card.write(lake, dataset_reports(dataset, split_id, "card"))


def dataset_card(lake: Storage, dataset: str, version: str, split_id: str) -> Card:
    """See ``write_dataset_card``."""
    records = Records(lake)
    images = records.commit(images_table(dataset), {"version": version})
    splits = records.commit(splits_table(dataset), {"split_id": split_id})
    if images is None or splits is None:
        raise DataError(f"The dataset {dataset} has no version {version} with a split {split_id}. Run prepare_dataset.")
    manifest, split = images["summary"], splits["summary"]
    index = images["fingerprint"].get("raw_index")
    record = {
        "dataset": dataset,
        "version": version,
        "split_id": split_id,
        "source": records.source_of(dataset, index),
        "index": index,
        "layout": images["fingerprint"]["layout"],
        "written by": {"manifest": images.get("run"), "split": splits.get("run")},
        "manifest": manifest,
        "split": split,
        "validation": _validation(lake, dataset, split_id),
        "limits": limits(manifest, split),
    }
    owner = owners_part(lake, f"{dataset_reports(dataset, '', '').rstrip('/')}/owner.md")
    return Card(f"Dataset {dataset}", f"Version {version}, split {split_id}", record, [*_sections(record), owner])


def _sections(record: Mapping[str, Any]) -> list[Section]:
    manifest, split, validation = record["manifest"], record["split"], record["validation"]
    counts, final = split["counts"], split["counts_after_rebalance"]
    classes = sorted(manifest["classes"])
    options, duplicates = split["options"], manifest["duplicates"]
    rows = [
        [name, manifest["classes"][name], *(counts[part].get(name, 0) for part in SPLITS), final["train"].get(name, 0)]
        for name in classes
    ]
    total = ["all classes", *(sum(row[place] for row in rows) for place in range(1, len(SPLITS) + 3))]
    return [
        Section(
            "What it is and where it is from",
            facts=[
                ("source", record["source"] or "not recorded"),
                ("index of its files", record["index"] or "not recorded"),
                ("files", manifest["images"]),
                ("distinct images", manifest["contents"]),
                ("files without a label", manifest["unlabelled"]),
                ("label map", _said(record["layout"].get("labels"))),
                ("rule that finds groups", _said(record["layout"].get("groups"))),
                ("tables", f"tables/{record['dataset']}/images, tables/{record['dataset']}/splits"),
            ],
        ),
        Section(
            "Classes and splits",
            "Files by class; distinct images by class and split; and what training sees after rebalancing.",
            table=(["class", "files", *SPLITS, "train, rebalanced"], [*rows, total]),
        ),
        Section(
            "How it was split",
            facts=[
                ("inherits from", split["parent"] or "no earlier split"),
                ("shares", _pairs(options["proportions"]) if options.get("proportions") else "by counts"),
                ("given test split kept", "yes" if options["keep_given_test"] else "no"),
                ("rebalanced by", split["sampling"]["method"]),
                ("units that stay together (groups, duplicates)", split["units"]),
                ("largest unit, images", split["largest"]["images"]),
                ("left out", _pairs(split["left_out"]) or "nothing"),
            ],
            bullets=split["notes"],
        ),
        Section(
            "Duplicates and leaks that were found",
            facts=[
                ("files that repeat another one, byte for byte", duplicates["exact"]),
                ("near duplicates, images", duplicates["near"]),
                ("sets of (near) duplicates", duplicates["clusters"]),
                ("images in more than one given split", manifest["leaks_between_given_splits"]),
                ("near duplicates across the given splits, sets", manifest["near_leaks_between_given_splits"]),
                ("images left out since they would tie two splits", split["leaks_removed"]["contents"]),
                ("images with contradicting labels, left out", split["contradictions"]["contents"]),
                (
                    "near duplicates with different labels, sets",
                    split["near_duplicates_with_different_labels"]["clusters"],
                ),
            ],
        ),
        Section("Files with a problem", facts=list(manifest["problems"].items()), text=_none(manifest["problems"])),
        Section(
            "Validation",
            f"{validation['expectations']} expectations of Great Expectations, {validation['failed']} not met."
            if validation
            else "Not validated yet.",
        ),
        Section("Known limits", bullets=record["limits"]),
    ]


def limits(manifest: Mapping[str, Any], split: Mapping[str, Any]) -> list[str]:
    """What a reader must not take from the numbers, as far as the records tell."""
    found = []
    if split["units"] == sum(sum(part.values()) for part in split["counts"].values()):
        found.append("No two images are known to belong together: the same patient or object may be in several splits.")
    for name, count in sorted(split["counts"]["test"].items()):
        if count < _FEW:
            found.append(f"The test split holds only {plural(count, 'image')} of {name}: figures on it are uncertain.")
    largest, smallest = max(manifest["classes"].values(), default=0), min(manifest["classes"].values(), default=0)
    if smallest and largest >= 3 * smallest:
        found.append(f"Classes are of unequal size: the largest is {largest / smallest:.1f} times the smallest.")
    if manifest["unlabelled"]:
        found.append(f"{plural(manifest['unlabelled'], 'file')} without a label are in no split.")
    found.append("Near duplicates are proposed by a perceptual hash: strongly cropped or rotated copies are not found.")
    found.append("Labels are those of the source. Only contradictions between equal images were looked for.")
    return found


def _validation(lake: Storage, dataset: str, split_id: str) -> dict[str, Any] | None:
    path = f"{dataset_reports(dataset, split_id, 'validation')}/result.json"
    if lake.stat(path) is None:
        return None
    found = json.loads(lake.read(path))
    return {"success": found["success"], "expectations": found["expectations"], "failed": len(found["failed"])}


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _said(value: Any) -> str:
    return "none" if not value else value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _none(values: Mapping[str, Any]) -> str:
    return "" if values else "None."
