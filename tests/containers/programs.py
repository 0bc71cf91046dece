"""What reads and renders the container files: Helm, the engines' parsers, and Kubernetes' own schemas.

Built or fetched once, with Go, into the user's cache folder.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from infra.binaries import cache_folder, go_build, locked
from infra.local.services import CannotRun
from tests.integration.servers import go_binary, left_out

HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
KUBERNETES = "k8s.io/kubernetes@v1.36.3"
READERS = Path(__file__).parent / "readers"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs ``helm`` with a home of its own, so that no setting of this machine plays a part."""
    program = go_binary("helm", HELM)
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [str(program), *arguments],
            env={"HOME": home, "PATH": os.defpath}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def read(kind: str, file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The ``compose`` or ``dockerfile`` as JSON on stdout; only ``variables`` are set."""
    digest = hashlib.sha256(b"".join((READERS / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    try:
        program = go_build("readers", READERS, digest.hexdigest()[:12])
    except CannotRun as error:
        left_out("Tests on compose files and Dockerfiles", f"it {error}.")
    environment = {"PATH": os.defpath, **variables}
    return subprocess.run(
        [str(program), kind, str(file)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@functools.lru_cache(maxsize=1)
def kubernetes_definitions() -> dict[str, Any]:
    """Kubernetes' OpenAPI definitions, from the release's own Go module."""
    module, _, version = KUBERNETES.partition("@")
    kept = cache_folder() / f"kubernetes-openapi-{version}.json.gz"
    with locked():
        if not kept.exists():
            _fetch_definitions(module, version, kept)
    definitions: dict[str, Any] = json.loads(gzip.decompress(kept.read_bytes()))
    return definitions


def _fetch_definitions(module: str, version: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["go", "mod", "download", "-modcacherw", f"{module}@{version}"],
            env=os.environ | {"GOMODCACHE": folder}, cwd=folder,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        archive = Path(folder) / f"cache/download/{module}/@v/{version}.zip"
        if done.returncode or not archive.exists():
            left_out("Schema checks of manifests", f"go mod download {module} failed: {done.stderr.strip()[-200:]}.")
        with zipfile.ZipFile(archive) as opened:
            swagger = json.loads(opened.read(f"{module}@{version}/api/openapi-spec/swagger.json"))
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(gzip.compress(json.dumps(swagger["definitions"]).encode()))
    partial.replace(target)
