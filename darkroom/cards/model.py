"""The model card: what a model is, what it learned from, how well it does, what the gate said, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.cards.layout import Card, Section, owners_part
from darkroom.html import number
from darkroom.metrics import METRIC_NAMES
from darkroom.package import PackageInfo
from darkroom.storage import Storage

_ELSEWHERE = "It learned elsewhere, from images that nobody here knows; some may be in the test split."
METRICS = {"count": "images", **METRIC_NAMES}


def model_card(
    lake: Storage, info: PackageInfo, verdict: Mapping[str, Any], policy: Mapping[str, Any], owner: str
) -> Card:
    """``verdict``: what the gate's task returns; ``policy``: the gate's limits; ``owner``: a path on the
    lake, for the owner's words.
    """
    challenger, evaluation = verdict["challenger"], verdict["evaluation"]
    record = {
        "model": verdict["model"],
        "version": verdict["version"],
        "package": challenger["package"],
        "run_id": challenger["run_id"],
        "about": info.model_dump(mode="json"),
        "options": challenger.get("options", {}),
        "test": evaluation["test"][challenger["config"]],
        "verdict": {name: verdict[name] for name in ("verdict", "reasons", "figures", "approval")},
        "compared_with": verdict["champion_package_id"],
        "limits": dict(policy),
    }
    title = f"Model {verdict['model']}, version {verdict['version']}"
    return Card(
        title, f"{info.config}, trained on {info.dataset}", record, [*_sections(record), owners_part(lake, owner)]
    )


def _sections(record: Mapping[str, Any]) -> list[Section]:
    about, test, val = record["about"], record["test"], record["about"]["metrics"]
    verdict, figures = record["verdict"], record["verdict"]["figures"]
    return [
        Section(
            "What it is",
            facts=[
                ("config", about["config"]),
                ("classes", ", ".join(about["classes"])),
                ("positive class, threshold (chosen on val)", _threshold(about)),
                ("input, pixels", " x ".join(str(side) for side in about["input_shape"])),
                ("transform", f"{about['transform_hash']}: {json.dumps(about['transform'], sort_keys=True)}"),
                ("seed", about["seed"]),
                ("code that trained it, digest", about["code_digest"]),
                ("package", record["package"]),
                ("MLflow run", record["run_id"]),
            ],
        ),
        Section(
            "What it learned from",
            facts=[
                ("dataset", about["dataset"]),
                ("version", about["dataset_version"]),
                ("split", about["split_id"]),
                ("card of the data", f"reports/datasets/{about['dataset']}/{about['split_id']}/card/card.md"),
            ],
        ),
        Section(
            "How well it does",
            "Val chose the config, the temperature and the threshold; test chose nothing. Intervals are 95 % bootstrap "
            "intervals that keep the images of a group together.",
            table=(
                ["metric", "val", "test", "interval on test"],
                [
                    [said, val.get(name), test.get(name), _interval(test.get(f"{name}_interval"))]
                    for name, said in METRICS.items()
                ],
            ),
        ),
        Section(
            "By class, on test",
            table=(
                ["class", "recall", "precision", "images"],
                [
                    [n, test["recall"].get(n), test["precision"].get(n), test["support"].get(n)]
                    for n in about["classes"]
                ],
            ),
        ),
        _slices(figures),
        Section("Calibration", _calibration(figures), bullets=list(about["notes"])),
        Section(
            f"The gate: {verdict['verdict']}",
            facts=[
                ("compared with", record["compared_with"] or "chance: there was no champion"),
                ("difference to the champion", _difference(figures)),
                ("approval", verdict["approval"]),
                *(
                    (f"limit: {name.replace('_', ' ')}", value if _plain(value) else json.dumps(value))
                    for name, value in sorted(record["limits"].items())
                ),
            ],
            bullets=verdict["reasons"],
        ),
        Section("How it was trained", facts=list(_flat(record["options"]))),
        Section(
            "Known limits",
            bullets=[
                "Figures hold for images like those of the test split; other devices, places or years may differ.",
                "Slices of few images are not judged, and groups that nobody named are not looked at.",
                "It names one of its classes for any image, also for one that shows none of them.",
                *([_ELSEWHERE] if about["pyfunc"] else []),
                *(f"Not defined: {name}, {why}." for name, why in sorted(test.get("undefined", {}).items())),
            ],
        ),
    ]


def _slices(figures: Mapping[str, Any]) -> Section:
    slices = figures.get("slices") or []
    if not slices:
        return Section("By slice", "Slices are compared with a champion's; there are none to show here.")
    rows = [[s["slice"], s["value"], s["images"], s["difference"], _interval(s["interval"])] for s in slices]
    headers = ["slice", "value", "images", "difference of accuracy to the champion", "interval"]
    return Section("By slice", table=(headers, rows))


def _calibration(figures: Mapping[str, Any]) -> str:
    error = figures.get("calibration_error")
    if error is None:
        return "Not measured."
    return (
        f"Expected calibration error on test: {number(error)}. By so much the probability of the predicted label "
        "misses the share of right answers, on average."
    )


def _difference(figures: Mapping[str, Any]) -> str:
    if figures.get("difference") is None:
        return "not compared"
    return f"{figures['difference']:+.3f}, interval {_interval(figures['difference_interval'])}"


def _threshold(about: Mapping[str, Any]) -> str:
    if about["positive_class"] is None:
        return "none: the largest probability decides"
    return f"{about['positive_class']}, {number(about['threshold'])}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value if _plain(value) else json.dumps(value)))
    return found
