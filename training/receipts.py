"""What was trained and decided before, remembered on the lake, so that nothing is done twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.codedigest import code_digest
from darkroom.contract import stable_hash, training_reports
from darkroom.errors import InvalidRequest
from darkroom.gate import GatePolicy
from darkroom.storage import Storage
from training.config import TrainingConfig


def training_key(version: str, split_id: str, config: TrainingConfig, seed: int) -> str:
    """What decides the outcome of one training."""
    return stable_hash([version, split_id, config.digest, config.input_hash, seed, code_digest()])


def check_planned(task: Mapping[str, Any], config: TrainingConfig) -> None:
    """Raises InvalidRequest where the config, or the code, is not what the task was planned with any more."""
    if training_key(task["version"], task["split_id"], config, task["seed"]) != task["key"]:
        raise InvalidRequest(
            f"The training config {config.name}, or the code, was changed after this run was planned. Expected both as "
            "they were: its examples and its gate were planned with them. Trigger the DAG again; what is trained as it "
            "stands now is not trained again."
        )


def gate_key(training_keys: Sequence[str], policy: GatePolicy) -> str:
    """What decides the outcome of the gate, but for the champion."""
    return stable_hash(["gate", sorted(training_keys), policy.model_dump(mode="json"), code_digest()])


def find_training(lake: Storage, model: str, key: str) -> dict[str, Any] | None:
    """The result of an earlier training; None where there was none, or where its package is gone."""
    found = _find(lake, model, key)
    return found if found and lake.stat(found["package"]) else None


def keep_training(lake: Storage, model: str, key: str, result: dict[str, Any]) -> None:
    _keep(lake, model, key, result)


def find_trial(lake: Storage, model: str, key: str) -> dict[str, Any] | None:
    """What came of a trial of a search before; None where there was none."""
    return _find(lake, model, key)


def keep_trial(lake: Storage, model: str, key: str, result: dict[str, Any]) -> None:
    _keep(lake, model, key, result)


def find_gate(lake: Storage, model: str, key: str) -> dict[str, Any] | None:
    """What the gate returned for these trainings before; None where it did not, or where its page is gone."""
    found = _find(lake, model, key)
    return found if found and lake.stat(found["page"]) else None


def keep_gate(lake: Storage, model: str, key: str, verdict: dict[str, Any]) -> None:
    _keep(lake, model, key, verdict)


def _path(model: str, key: str) -> str:
    return f"{training_reports(model, 'receipts')}/{key}.json"


def _find(lake: Storage, model: str, key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(lake.read(_path(model, key)))
    except FileNotFoundError:
        return None
    return found


def _keep(lake: Storage, model: str, key: str, value: dict[str, Any]) -> None:
    lake.write(_path(model, key), json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode())
