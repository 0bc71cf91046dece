"""The container files, read once a session with their engines' own parsers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra import container_secrets
from tests.containers.programs import read

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def container_home(tmp_path_factory) -> Path:
    """Where the secrets were made."""
    home = tmp_path_factory.mktemp("containers")
    container_secrets.make(home)
    return home


@pytest.fixture(scope="session")
def engine(container_home) -> dict[str, str]:
    """The variables that the engine is given."""
    return dict(line.split("=", 1) for line in (container_home / "engine.env").read_text().splitlines())


@pytest.fixture(scope="session")
def project(engine) -> dict[str, Any]:
    """The compose file as docker compose resolves it."""
    done = read("compose", ROOT / "infra" / "compose.yaml", **engine)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def stages() -> dict[str, dict[str, Any]]:
    """The Dockerfile's stages by name, as BuildKit reads them."""
    done = read("dockerfile", ROOT / "infra" / "images" / "Dockerfile")
    assert done.returncode == 0, done.stderr
    found = {stage["Name"]: stage for stage in json.loads(done.stdout)["Stages"]}
    for stage in found.values():
        for instruction in stage["Instructions"]:
            instruction["Name"] = instruction["Name"].lower()
    return found
