"""The demo's last screen, on at most 24 lines: what was learned, what was found, where everything is, what next."""

from __future__ import annotations

import os
from typing import Any

from darkroom import champions
from darkroom.storage import open_storage
from infra.local.environment import Local, credentials

GIB = 2**30


def print_last_screen(local: Local, outcome: dict[str, Any]) -> None:
    """Prints the outcome that the demo has collected from the tasks."""
    print("\n".join(last_screen(local, outcome)), flush=True)


def last_screen(local: Local, outcome: dict[str, Any]) -> list[str]:
    """The lines of the last screen."""
    event, tests = outcome["event"], outcome["evaluate"]["test"]
    dataset, challenger = event["dataset"], outcome["evaluate"]["challenger"]["config"]
    champion = champions.current(open_storage(local.lake), dataset)
    lines = [""]
    if champion is None:
        lines.append("NO CHAMPION   " + " ".join(outcome["gate"]["reasons"]))
    else:
        config = champion.details.get("config", "")
        lines.append(f"CHAMPION      {dataset} version {champion.version}: {config}")
    for name, metrics in sorted(tests.items(), key=lambda item: item[0] != challenger):
        lines.append(f"              {name:<22}{_figures(metrics)}")
    lines.append(f"DATA          {_found(outcome['manifest'])}")
    if outcome["days"]:
        images = sum(day["images"] for day in outcome["days"])
        shown = ", ".join(f"{day['dt']}: {day['images']}" for day in outcome["days"])
        lines += [
            f"PREDICTIONS   {images:,} images ({shown}); their inbox was a seeded sample of test images",
            f"              {_shown(f'{local.lake}/tables/predictions/{dataset}')}",
        ]
    else:
        lines.append("PREDICTIONS   none: without a champion nothing is classified")
    if dataset == "phantom":
        lines.append("NOTE          phantoms are synthetic: these scores say nothing about medicine")
    login = credentials(local)
    report = f"{local.airflow_url}/darkroom/reports/datasets/{dataset}"
    lines += [
        f"AIRFLOW       {local.airflow_url}   login {login['user']} / {login['password']}",
        f"MLFLOW        {local.mlflow_url}/#/experiments",
        f"DASHBOARD     {report}/{event['split_id']}/eda/index.html",
        f"VALIDATION    {report}/{event['split_id']}/validation/index.html",
        f"COMPARISON    {local.airflow_url}/darkroom/{outcome['evaluate']['page']}",
        "NEXT          your own images: make demo DATASET=<folder, archive or URL>",
        '              other dates: make airflow ARGS="backfill create --dag-id batch_inference ..."',
        f"STOP          {local.stop_command}",
        f"              took {outcome['seconds'] / 60:.1f} min and {outcome['peak_memory'] / GIB:.1f} GiB at its peak",
    ]
    return lines


def _figures(metrics: dict[str, Any]) -> str:
    value, bounds = metrics["balanced_accuracy"], metrics.get("balanced_accuracy_interval")
    if value is None:
        return "balanced accuracy not defined on this test split"
    interval = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
    area = metrics.get("roc_auc")
    return f"balanced accuracy {value:.3f}{interval} on test" + (f", ROC-AUC {area:.3f}" if area is not None else "")


def _found(manifest: dict[str, Any]) -> str:
    duplicates = manifest["duplicates"]
    problems = sum(manifest["problems"].values())
    return (
        f"{manifest['images']:,} files; {problems:,} broken, {duplicates['exact']:,} exact and "
        f"{duplicates['near']:,} near duplicates, {manifest['leaks_between_given_splits']:,} across given splits, "
        f"{manifest['contradictions']:,} with contradicting labels"
    )


def _shown(path: str) -> str:
    if "://" in path:
        return path
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else path
