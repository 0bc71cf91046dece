"""The gate as a step: both models scored on the same images, the verdict kept where people and machines find it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkroom import champions
from darkroom.cards import model_card
from darkroom.champions import Champion
from darkroom.contract import training_reports
from darkroom.gate import Scores, Verdict
from darkroom.gate import decide as decide_gate
from darkroom.metrics import confusion
from darkroom.model import load_package
from darkroom.storage import Storage
from training import receipts, registry, tracking
from training.comparing.plots import confusion_figure
from training.deciding.changes import changes_since
from training.deciding.gate_page import gate_page
from training.deciding.scoring import challenger_scores, champion_scores
from training.packaging import THREADS
from training.policy import gate_policy

log = logging.getLogger(__name__)


def decide_challenger(lake: Storage, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What ``training.flow.decide`` does. The verdict goes to the report, to MLflow and into a receipt."""
    plan, challenger = evaluation["plan"], evaluation["challenger"]
    model = plan["model"]
    if not plan["changed"]:
        decided = receipts.find_gate(lake, model, plan["gate_key"])
        if decided is not None:
            log.info("Nothing changed: the gate said %s before.", decided["verdict"])
            return {**decided, "changed": False}
    champion = champions.current(lake, model)
    policy = gate_policy()
    package = load_package(lake, challenger["package"], package_id=challenger["package_id"], threads=THREADS)
    mine, rival, why = _scores(lake, evaluation, champion)
    settled = Verdict(False, (why,))
    verdict = settled if mine is None else decide_gate(mine, rival, package.classes, policy)
    for reason in verdict.reasons:
        log.info("%s: %s", verdict.word, reason)
    named = f"version {champion.version} ({champion.details.get('config', '?')})" if champion else None
    folder = training_reports(model, plan["parent_run_id"])
    pictures = _pictures(lake, folder, (mine, rival), package.classes)
    changes = changes_since(lake, plan, challenger, champion)
    page = f"{folder}/gate.html"
    lake.write(page, gate_page(verdict, model, challenger, named, changes).encode())
    content = {"verdict": verdict.word, "reasons": list(verdict.reasons), "figures": verdict.figures}
    content["changes"] = changes
    client = tracking.open_client()
    with tracking.reached():
        tags = {
            "darkroom.verdict": verdict.word,
            "darkroom.reasons": " ".join(verdict.reasons)[:4500],
            "darkroom.config": challenger["config"],
            "darkroom.dataset_version": plan["version"],
            "darkroom.split_id": plan["split_id"],
            "darkroom.package": challenger["package"],
        }
        version = registry.register(client, model, challenger["run_id"], challenger["model_id"], tags)
        client.update_model_version(
            model, version.version, description(plan, challenger, verdict.word, verdict.reasons)
        )
        client.set_tag(plan["parent_run_id"], "darkroom.verdict", verdict.word)
    result = {
        **content,
        "model": model,
        "version": str(version.version),
        "challenger": challenger,
        "champion_package_id": champion.package_id if champion else None,
        "evaluation": {name: value for name, value in evaluation.items() if name != "plan"} | {"plan": _small(plan)},
        "pictures": pictures,
        "gate_key": plan["gate_key"],
        "approval": policy.approval,
        "page": page,
        "mlflow_url": registry.version_page(model, str(version.version)),
        "changed": True,
    }
    card = model_card(lake, package.info, result, policy.model_dump(mode="json"), owner=owner_of(model))
    card.write(lake, f"{folder}/card")
    with tracking.reached():
        client.log_text(challenger["run_id"], card.markdown(), "model_card.md")
    told = {name: result[name] for name in (*content, "model", "version", "gate_key", "approval", "mlflow_url")}
    told |= {name: challenger[name] for name in ("config", "run_id", "package_id")}
    told |= {"champion_package_id": result["champion_package_id"], **plan["links"]}
    lake.write(f"{folder}/gate.json", json.dumps(told, indent=1, sort_keys=True).encode())
    receipts.keep_gate(lake, model, plan["gate_key"], result)
    return result


def owner_of(model: str) -> str:
    """Where the owner of a model writes what it is for; see ``darkroom.cards``."""
    return training_reports(model, "owner.md")


def description(plan: Mapping[str, Any], challenger: Mapping[str, Any], word: str, reasons: Sequence[str]) -> str:
    """What a model version's page in MLflow says."""
    said = "\n".join(f"- {reason}" for reason in reasons)
    return (
        f"{challenger['config']}, trained on {plan['dataset']}, version `{plan['version']}`, "
        f"split `{plan['split_id']}`.\n\n"
        f"Gate: **{word}**\n{said}\n\nPackage: `{challenger['package']}`"
    )


def _scores(
    lake: Storage, evaluation: Mapping[str, Any], champion: Champion | None
) -> tuple[Scores | None, Scores | None, str]:
    """What challenger and champion said; where they need not be compared, neither, and why."""
    challenger = evaluation["challenger"]
    if champion is not None and champion.package_id == challenger["package_id"]:
        return None, None, f"This very package is the champion already, as version {champion.version}."
    if withdrawn := champions.withdrawn_because(lake, evaluation["plan"]["model"], challenger["package_id"]):
        return None, None, withdrawn
    mine = challenger_scores(lake, evaluation)
    return mine, champion_scores(lake, evaluation["plan"], champion, mine) if champion else None, ""


def _pictures(lake: Storage, folder: str, scores: Sequence[Scores | None], classes: Sequence[str]) -> dict[str, str]:
    """Confusion matrices on the test images as PNG in the folder: {title: path}."""
    from darkroom.figures import png

    found = {}
    for role, one in zip(("challenger", "champion"), scores, strict=True):
        if one is None or one.problem:
            continue
        names = sorted({*classes, *one.truth, *one.predicted})
        index = {name: k for k, name in enumerate(names)}
        truth, said = (
            np.array([index[label] for label in part], dtype=np.int64) for part in (one.truth, one.predicted)
        )
        title = f"{one.name} on {len(truth):,} test images"
        found[title] = f"{folder}/confusion-{role}.png"
        matrix = confusion(truth, said, len(names)).tolist()
        lake.write(found[title], png(confusion_figure(matrix, names), title=title))
    return found


def _small(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan without the results of earlier trainings, which the evaluation holds already."""
    return {**plan, "configs": [{**task, "trained": None} for task in plan["configs"]]}
