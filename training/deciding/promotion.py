"""Moving the champion: promotion of what passed the gate, and the way back to an earlier one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from darkroom import champions
from darkroom.cards.layout import escaped
from darkroom.codedigest import code_digest
from darkroom.contract import predictions_table
from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform
from training import receipts, registry, tracking
from training.policy import gate_policy

log = logging.getLogger(__name__)


def promote_challenger(
    lake: Storage, verdict: dict[str, Any], now: datetime, by: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What ``training.flow.promote`` does. ``by`` says who approved; nobody has to, by default.

    Raises InvalidRequest for a refused challenger, or a verdict that was overtaken. Raises MachineryError where MLflow
    fails after the entry is written: the entry stands, and a retry moves the alias.
    """
    model, challenger = verdict["model"], verdict["challenger"]
    plan = verdict["evaluation"]["plan"]
    newest = champions.last_entry(lake, model)
    before = champions.current(lake, model)
    _check_standing(lake, verdict)
    task = next(task for task in plan["configs"] if task["name"] == challenger["config"])
    champion = champions.append(
        lake,
        model,
        {
            "package": challenger["package"],
            "package_id": challenger["package_id"],
            "version": verdict["version"],
            "run_id": challenger["run_id"],
            "dataset": plan["dataset"],
            "dataset_version": plan["version"],
            "split_id": plan["split_id"],
            "transform_hash": ImageTransform.model_validate(task["transform"]).hash,
            "details": {
                "config": challenger["config"],
                "reasons": verdict["reasons"],
                "figures": verdict["figures"],
                "page": verdict["page"],
                "test": verdict["evaluation"]["test"][challenger["config"]],
                "options": challenger.get("options", {}),
                "code_digest": code_digest(),
                "by": dict(by or {"approval": "auto"}),
            },
        },
        now=now,
        after=newest,
    )
    changed = before is None or before.package_id != champion.package_id
    log.info("%s is champion of %s, entry %d.", challenger["config"], model, champion.number)
    if registry.repair_alias(lake, model) is not None:
        client = tracking.open_client()
        with tracking.reached(registry.standing(champion)):
            client.set_model_version_tag(model, champion.version, "darkroom.champion_entry", str(champion.number))
            client.update_registered_model(
                model,
                f"Image classifier trained on {plan['dataset']}. Champion: version {champion.version}, "
                f"{challenger['config']}, since {champion.promoted_at:%Y-%m-%d %H:%M} UTC.",
            )
    return {
        "model": model,
        "version": champion.version,
        "entry": champion.number,
        "config": challenger["config"],
        "package": champion.package,
        "promoted_at": champion.promoted_at.isoformat(),
        "changed": changed,
        "page": verdict["page"],
        "mlflow_url": registry.version_page(model, champion.version),
    }


def propose(lake: Storage, model: str, gate_key: str) -> dict[str, Any]:
    """What a person who approves gets to see of a challenger that passed the gate, and the verdict itself.

    Raises InvalidRequest where there is no such verdict, where it was no, or where the champion has changed since.
    """
    verdict = receipts.find_gate(lake, model, gate_key)
    if verdict is None:
        raise InvalidRequest(f"The gate of {model} gave no verdict {gate_key!r}. Expected one that train_model names.")
    _check_standing(lake, verdict)
    challenger, figures = verdict["challenger"], verdict["figures"]
    metric = figures["metric"].replace("_", " ")
    champion = champions.current(lake, model)
    rows = [("", "challenger", "champion"), ("---", "---", "---")]
    rows.append(("config", challenger["config"], str(champion.details.get("config", "?")) if champion else "none yet"))
    rows.append(("version", verdict["version"], champion.version if champion else ""))
    rivals = figures.get("champion_recall", {})
    rows.append((metric, _cell(figures["value"]), _cell(figures.get("champion_value"))))
    rows += [
        (f"recall of {escaped(name)}", _cell(share), _cell(rivals.get(name)))
        for name, share in figures["recall"].items()
    ]
    # In cells, or Airflow sets one below the other.
    pictures = [f"![{title}](/darkroom/{path})" for title, path in verdict["pictures"].items()]
    mine, theirs, *_ = [*pictures, "", ""]
    rows.append(("", mine, theirs))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    low, high = figures["difference_interval"] if champion else figures["interval"]
    sign, told = ("+", f"Difference of {metric}") if champion else ("", metric.capitalize())
    interval = f"{told}: {low:{sign}.3f} to {high:{sign}.3f}, {gate_policy().level:.0%} interval."
    links = (
        f"[The comparison](/darkroom/{verdict['evaluation']['comparison']}) · [The gate](/darkroom/{verdict['page']})"
    )
    return {
        "verdict": verdict,
        "subject": f"May version {verdict['version']} of {model} ({challenger['config']}) become champion?",
        "body": f"{table}\n\n{interval}\n\n{links}",
        "hours": gate_policy().approval_hours,
        "page": verdict["page"],
    }


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def plan_rollback(lake: Storage, model: str, to: int = 0) -> dict[str, Any]:
    """Which entries are to be withdrawn so that entry ``to`` is champion again; 0 means the one before the champion.

    Raises InvalidRequest where there is nothing to go back to.
    """
    promoted = champions.standing(lake, model)
    numbers = [champion.number for champion in promoted]
    if len(promoted) < 2:
        raise InvalidRequest(f"{model} has {len(promoted)} champions that stand. Expected at least two to go back.")
    target = to or numbers[-2]
    if target not in numbers[:-1]:
        raise InvalidRequest(
            f"Entry {target} of {model} cannot become champion again. Expected one of {numbers[:-1]}, an earlier "
            "promotion that was not withdrawn."
        )
    return {"model": model, "to": target, "withdraw": [number for number in numbers if number > target]}


def roll_back(lake: Storage, plan: Mapping[str, Any], reason: str, *, by: str, now: datetime) -> dict[str, Any]:
    """Withdraws what ``plan_rollback`` named, newest first, and moves the alias.

    ``partitions_of`` says what the withdrawn ones wrote. Killed midway, a rerun with the same plan goes on.
    """
    model = str(plan["model"])
    for number in sorted(plan["withdraw"], reverse=True):
        champions.withdraw(lake, model, number, reason, by=by, now=now)
        log.info("Entry %d of %s is withdrawn: %s", number, model, reason)
    champion = champions.current(lake, model)
    if champion is None or champion.number != plan["to"]:
        raise CommitConflict(
            f"Another champion of {model} was promoted meanwhile. Look at its history and go on there."
        )
    log.info("Entry %d, version %s, is champion of %s again.", champion.number, champion.version, model)
    registry.repair_alias(lake, model)
    return {
        "model": model,
        "version": champion.version,
        "entry": champion.number,
        "withdrawn": sorted(plan["withdraw"]),
        "mlflow_url": registry.version_page(model, champion.version),
    }


def partitions_of(lake: Storage, model: str, entries: Sequence[int]) -> list[dict[str, str]]:
    """The partitions of the model's predictions whose present rows are from these entries' packages, sorted."""
    promoted = [one for one in champions.history(lake, model) if one["kind"] == "promoted"]
    packages = {one["package"] for one in promoted if one["number"] in entries}
    newest: dict[str, dict[str, Any]] = {}
    for commit in Table(lake, predictions_table(model)).history():  # newest first
        if commit["partition"]:
            newest.setdefault(json.dumps(commit["partition"], sort_keys=True), commit)
    found = [one["partition"] for one in newest.values() if (one["metadata"] or {}).get("package") in packages]
    return sorted(found, key=lambda partition: sorted(partition.items()))


def _check_standing(lake: Storage, verdict: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a verdict that was no, or that no longer holds."""
    model, challenger = verdict["model"], verdict["challenger"]
    if verdict["verdict"] != "promote":
        raise InvalidRequest(f"The gate refused this challenger: {' '.join(verdict['reasons'])} It cannot be promoted.")
    champion = champions.current(lake, model)
    if (champion and champion.package_id) not in (verdict["champion_package_id"], challenger["package_id"]):
        raise InvalidRequest(
            f"The champion of {model} has changed since the gate compared with it. Run train_model again, so that the "
            "challenger is compared with the present champion."
        )
    if withdrawn := champions.withdrawn_because(lake, model, challenger["package_id"]):
        raise InvalidRequest(f"{withdrawn} It cannot be promoted again. Train with another seed, config or dataset.")
