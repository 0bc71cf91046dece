"""How good the predictions of some dates were, by the true labels that feedback gives to their images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom import champions
from darkroom.contract import (
    ACCEPTED,
    PENDING,
    TRAIN,
    VAL,
    images_table,
    performance_report,
    predictions_table,
    splits_table,
)
from darkroom.drift.performance import compare_performance
from darkroom.errors import InvalidRequest
from darkroom.feedback.quarantine import stored
from darkroom.sources.layout import LayoutOptions, describe
from darkroom.splitting_flow import newest_version
from darkroom.storage import Storage
from darkroom.tables import Table


def performance(lake: Storage, model: str, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    """The performance of each package that classified the model's images from ``first`` to ``last`` (YYYY-MM-DD).

    Without one, from the first date that was classified, to the last.

    True labels are those of accepted feedback, else of pending feedback, which passed the checks. Each image counts
    once a package. Images that the package was trained on, and true labels that it does not know, are left out and
    counted. Equal feedback and predictions give an equal result, which is kept as JSON on the lake. Raises
    InvalidRequest for dates that are none, and for a model without predictions in them.
    """
    for day in (first, last):
        if day is not None:
            _check_date(day)
    table = Table(lake, predictions_table(model))
    truth = true_labels(lake, _dataset_of(lake, model))
    packages = _packages(table)
    dates = sorted({dt for dt, _, _ in packages})
    first, last = first or next(iter(dates), ""), last or next(reversed(dates), "")
    rows = table.read(
        columns=["dt", "feed", "origin", "path", "image_id", "label", "model_version"],
        where=(pc.field("dt") >= first) & (pc.field("dt") <= last) & pc.field("label").is_valid(),
    )
    if not rows.num_rows:
        raise InvalidRequest(
            f"{model} classified no images from {first or 'any date'} to {last or 'any date'}. Expected dates that "
            "batch_inference has classified, the earlier one first."
        )
    known = rows.filter(pc.is_in(rows["image_id"], pa.array(sorted(truth), pa.string()))).to_pylist()
    by_package: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in sorted(known, key=lambda row: (row["dt"], row["feed"], row["path"])):
        package = packages[row["dt"], row["feed"], row["origin"]]
        by_package[package].setdefault(row["image_id"], row)
    found = {
        "model": model,
        "from": first,
        "to": last,
        "predictions": rows.num_rows,
        "packages": [_of_package(lake, package, said, truth) for package, said in sorted(by_package.items())],
    }
    path = performance_report(model, first, last)
    lake.write(path, json.dumps(found, indent=1, sort_keys=True).encode())
    return {**found, "report": path}


def true_labels(lake: Storage, dataset: str) -> dict[str, str]:
    """content_id -> label: what was accepted, else what is pending; never two labels for one image."""
    rows = [row for row in stored(lake, dataset) if row.state in (PENDING, ACCEPTED)]
    ordered = sorted(rows, key=lambda row: row.accepted)  # accepted last: they win
    return {row.image_id: row.label for row in ordered if row.image_id and row.label}


def _of_package(
    lake: Storage, package: str, said: Mapping[str, Mapping[str, Any]], truth: Mapping[str, str]
) -> dict[str, Any]:
    from darkroom.package import read_package

    model = read_package(lake, package)
    splits = Table(lake, splits_table(model.info.dataset)).read(
        {"split_id": model.info.split_id}, columns=["content_id", "split"]
    )
    trained = set(splits.filter(pc.is_in(splits["split"], pa.array([TRAIN, VAL])))["content_id"].to_pylist())
    unseen = sorted(said.keys() - trained)
    counting = [image_id for image_id in unseen if truth[image_id] in model.info.classes]
    layout = _layout(lake, model.info.dataset)
    groups = [describe(said[image_id]["path"], layout)[2] or image_id for image_id in counting]
    compared = compare_performance(
        model.reference,
        [truth[image_id] for image_id in counting],
        [said[image_id]["label"] for image_id in counting],
        model.info.classes,
        groups,
    )
    return {
        "package": package,
        "model_version": max(row["model_version"] for row in said.values()),
        "trained_on": len(said) - len(unseen),
        "labels_it_does_not_know": len(unseen) - len(counting),
        **compared.as_dict(),
    }


def _packages(table: Table) -> dict[tuple[str, str, str], str]:
    """(dt, feed, origin) -> the package that wrote the partition's present rows."""
    found: dict[tuple[str, str, str], str] = {}
    for entry in table.history():
        if (place := entry["partition"]) and (package := (entry["metadata"] or {}).get("package")):
            found.setdefault((place["dt"], place["feed"], place["origin"]), package)
    return found


def _dataset_of(lake: Storage, model: str) -> str:
    champion = champions.current(lake, model)
    return model if champion is None else champion.dataset


def _layout(lake: Storage, dataset: str) -> LayoutOptions:
    """How the dataset's newest version finds groups in file names."""
    images = Table(lake, images_table(dataset))
    version = newest_version(lake, dataset)
    commit = images.last_commit({"version": version}) if version else None
    return LayoutOptions.model_validate(((commit or {}).get("fingerprint") or {}).get("layout") or {})


def _check_date(day: str) -> None:
    try:
        parsed: date | None = date.fromisoformat(day)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != day:
        raise InvalidRequest(f"The date {day!r} is none. Expected YYYY-MM-DD, for example 2026-01-31.")
