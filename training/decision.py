"""The gate and the promotion as steps: both models scored on the same images, the verdict kept, the champion moved."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom import champions
from darkroom.champions import Champion
from darkroom.contract import TRAIN, VAL, images_table, training_reports
from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.gate import Scores, Verdict
from darkroom.gate import decide as decide_gate
from darkroom.model import BATCH, Model, load_package
from darkroom.reader import ImageReader
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageProblem, ImageTransform
from training import receipts, registry, tracking
from training.comparison import gate_page
from training.data import read_examples, read_split
from training.evaluate import predictions_path
from training.packaging import THREADS

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
    verdict = _verdict(lake, plan, challenger, champion)
    for reason in verdict.reasons:
        log.info("%s: %s", verdict.word, reason)
    named = f"version {champion.version} ({champion.details.get('config', '?')})" if champion else None
    folder = training_reports(model, plan["parent_run_id"])
    page = f"{folder}/gate.html"
    lake.write(page, gate_page(verdict, model, challenger, named).encode())
    content = {"verdict": verdict.word, "reasons": verdict.reasons, "figures": verdict.figures}
    lake.write(f"{folder}/gate.json", json.dumps(content, indent=1, sort_keys=True).encode())
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
        "reasons": list(verdict.reasons),
        "model": model,
        "version": str(version.version),
        "challenger": challenger,
        "champion_package_id": champion.package_id if champion else None,
        "evaluation": {name: value for name, value in evaluation.items() if name != "plan"} | {"plan": _small(plan)},
        "page": page,
        "mlflow_url": _version_page(model, str(version.version)),
        "changed": True,
    }
    receipts.keep_gate(lake, model, plan["gate_key"], result)
    return result


def promote_challenger(lake: Storage, verdict: dict[str, Any], now: datetime) -> dict[str, Any]:
    """What ``training.flow.promote`` does. Raises InvalidRequest for a refused challenger, or an overtaken verdict.

    Raises MachineryError where MLflow fails after the entry is written: the entry stands, and a retry moves the alias.
    """
    if verdict["verdict"] != "promote":
        raise InvalidRequest(f"The gate refused this challenger: {' '.join(verdict['reasons'])} It cannot be promoted.")
    model, challenger = verdict["model"], verdict["challenger"]
    plan = verdict["evaluation"]["plan"]
    before = champions.current(lake, model)
    now_id = before.package_id if before else None
    if now_id not in (verdict["champion_package_id"], challenger["package_id"]):
        raise InvalidRequest(
            f"The champion of {model} has changed since the gate compared with it. Run train_model again, so that the "
            "challenger is compared with the present champion."
        )
    if withdrawn := _withdrawn(lake, model, challenger["package_id"]):
        raise InvalidRequest(f"{withdrawn} It cannot be promoted again. Train with another seed, config or dataset.")
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
            },
        },
        now=now,
    )
    changed = now_id != champion.package_id
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
        "mlflow_url": _version_page(model, champion.version),
    }


def description(plan: Mapping[str, Any], challenger: Mapping[str, Any], word: str, reasons: Sequence[str]) -> str:
    """What a model version's page in MLflow says."""
    said = "\n".join(f"- {reason}" for reason in reasons)
    return (
        f"{challenger['config']}, trained on {plan['dataset']}, version `{plan['version']}`, "
        f"split `{plan['split_id']}`.\n\n"
        f"Gate: **{word}**\n{said}\n\nPackage: `{challenger['package']}`"
    )


def _verdict(
    lake: Storage, plan: Mapping[str, Any], challenger: Mapping[str, Any], champion: Champion | None
) -> Verdict:
    if champion is not None and champion.package_id == challenger["package_id"]:
        return Verdict(False, (f"This very package is the champion already, as version {champion.version}.",))
    if withdrawn := _withdrawn(lake, plan["model"], challenger["package_id"]):
        return Verdict(False, (withdrawn,))
    folder = training_reports(plan["model"], plan["parent_run_id"])
    table = pq.read_table(io.BytesIO(lake.read(predictions_path(folder, challenger["config"]))))
    columns = {name: table[name].to_pylist() for name in ("content_id", "truth", "predicted", "score", "group")}
    mine = Scores(
        name=f"The challenger {challenger['config']}",
        content_ids=columns["content_id"],
        truth=columns["truth"],
        predicted=columns["predicted"],
        score=columns["score"],
        groups=columns["group"],
        trained_on=trained_on(lake, plan["dataset"], plan["split_id"]),
    )
    rival = champion_scores(lake, plan, champion, mine) if champion else None
    package = load_package(lake, challenger["package"], package_id=challenger["package_id"], threads=THREADS)
    return decide_gate(mine, rival, package.classes)


def _withdrawn(lake: Storage, model: str, package_id: str) -> str | None:
    """Why a package must not come back, in one sentence; None for one that was not withdrawn."""
    entry = champions.withdrawal(lake, model, package_id)
    if entry is None:
        return None
    return (
        f"This very package was champion, entry {entry['withdraws']}, and was withdrawn on "
        f"{entry['promoted_at'][:10]}: {str(entry['reason']).rstrip('.')}."
    )


def trained_on(lake: Storage, dataset: str, split_id: str) -> frozenset[str]:
    """The content_ids in train and val of a split. Raises DataError where the split is not known."""
    split = read_split(lake, dataset, split_id)
    return frozenset(split.filter(pc.is_in(split["split"], pa.array([TRAIN, VAL])))["content_id"].to_pylist())


def champion_scores(lake: Storage, plan: Mapping[str, Any], champion: Champion, mine: Scores) -> Scores:
    """What the champion says, through its own transform, about the challenger's test images."""
    name = f"The champion, version {champion.version},"
    try:
        model = load_package(lake, champion.package, package_id=champion.package_id, threads=THREADS)
        seen = trained_on(lake, champion.dataset, champion.split_id)
        probabilities = _predict_same(lake, plan, model, mine.content_ids)
    except (ModelError, DataError) as error:
        return Scores.unavailable(name, error.message)
    labels, score = model.labels(probabilities)
    return Scores(name, mine.content_ids, mine.truth, labels, score.tolist(), mine.groups, seen)


def _predict_same(lake: Storage, plan: Mapping[str, Any], model: Model, content_ids: Sequence[str]) -> np.ndarray:
    """Probabilities for the given images: from their examples where all are there, else from their bytes."""
    split = read_split(lake, plan["dataset"], plan["split_id"])
    try:
        examples = read_examples(lake, plan["dataset"], split, "test", model.transform)
    except DataError:
        examples = None
    if examples is not None and list(examples.content_ids) == list(content_ids):
        return model.predict(examples.pixels)
    parts = [model.predict(pixels) for pixels in _decoded(lake, plan, model.transform, content_ids)]
    return np.concatenate(parts)


def _decoded(
    lake: Storage, plan: Mapping[str, Any], transform: ImageTransform, content_ids: Sequence[str]
) -> Iterator[np.ndarray]:
    rows = Table(lake, images_table(plan["dataset"])).read({"version": plan["version"]}, columns=["content_id", "uri"])
    address = dict(zip(rows["content_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    reader = ImageReader(lake)
    for start in range(0, len(content_ids), BATCH):
        pixels = []
        for content_id in content_ids[start : start + BATCH]:
            try:
                pixels.append(transform.apply(reader.read(address[content_id], content_id)))
            except (KeyError, ImageProblem) as error:
                raise DataError(f"the image {content_id[:12]} cannot be read for its transform ({error!r}).") from error
        yield np.stack(pixels)


def _small(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan without the results of earlier trainings, which the evaluation holds already."""
    return {**plan, "configs": [{**task, "trained": None} for task in plan["configs"]]}


def _version_page(model: str, version: str) -> str:
    address = get_settings().mlflow_tracking_uri
    return f"{address}/#/models/{model}/versions/{version}" if address.startswith("http") else ""
