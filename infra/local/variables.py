"""The settings that the services were started with: kept as digests, to tell whether those of now differ."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from darkroom.settings import Settings
from infra.local.environment import Local


def _variables_file(local: Local) -> Path:
    return local.home / "run" / "variables.json"


def _digests(local: Local) -> dict[str, str]:
    """A digest of each setting that services are started with; an empty one is as good as none."""
    given = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields} - local.own_settings
    values = {name: value for name in given if (value := os.environ.get(name))}
    values |= local.variables
    return {name: hashlib.sha256(f"{name}={value}".encode()).hexdigest() for name, value in values.items()}


def record_variables(local: Local) -> None:
    """Remembers what services are started with now, in a file that only this user can read."""
    path = _variables_file(local)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(_digests(local), file)


def differing_variables(local: Local) -> list[str]:
    """The settings that have other values now than when the services were started."""
    try:
        recorded = json.loads(_variables_file(local).read_text())
    except FileNotFoundError:
        return []
    now = _digests(local)
    return sorted(name for name in recorded.keys() | now.keys() if recorded.get(name) != now.get(name))
