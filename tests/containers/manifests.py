"""Kubernetes manifests: rendered by Helm, checked against the API's own schema, taken apart for assertions."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

from tests.containers.programs import KUBERNETES, helm, kubernetes_definitions

CHART = Path(__file__).resolve().parents[2] / "infra" / "helm" / "darkroom"
VERSION = KUBERNETES.rpartition("v")[2]

Manifest = dict[str, Any]


def template(*arguments: str) -> list[Manifest]:
    """What ``helm template`` renders for these arguments."""
    done = helm("template", "demo", str(CHART), "--namespace", "imaging", "--kube-version", VERSION, *arguments)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def refusal(*arguments: str) -> str:
    """What Helm says when it does not render these arguments."""
    done = helm("template", "demo", str(CHART), "--kube-version", VERSION, *arguments)
    assert done.returncode != 0, f"rendered although {arguments}"
    return done.stderr


@functools.lru_cache(maxsize=1)
def strict_definitions() -> dict[str, Any]:
    """The API's definitions with unknown fields refused, and the two types that OpenAPI cannot say."""
    definitions = copy.deepcopy(kubernetes_definitions())
    for definition in definitions.values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
        if definition.get("format") == "int-or-string":
            definition["type"] = ["integer", "string"]
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] = ["number", "string"]
    return definitions


@functools.cache
def _validator(version: str, kind: str) -> Draft7Validator:
    definitions = strict_definitions()
    group, _, name = version.rpartition("/")
    wanted = {"group": group, "version": name, "kind": kind}
    found = [key for key, value in definitions.items() if wanted in value.get("x-kubernetes-group-version-kind", [])]
    assert len(found) == 1, f"Kubernetes {VERSION} does not know {version} {kind}"
    return Draft7Validator({"$ref": f"#/definitions/{found[0]}", "definitions": definitions})


def problems(manifest: Manifest) -> list[str]:
    """What Kubernetes' schema has against a manifest; empty when it is right."""
    validator = _validator(manifest["apiVersion"], manifest["kind"])
    what = f"{manifest['kind']} {manifest['metadata'].get('name')}"
    errors = validator.iter_errors(manifest)
    return [f"{what}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


def embedded_pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates that Airflow and Spark read from ConfigMaps, by the ConfigMap's name."""
    return {
        one["metadata"]["name"]: yaml.safe_load(one["data"]["pod.yaml"])
        for one in manifests
        if one["kind"] == "ConfigMap" and "pod.yaml" in one["data"]
    }


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that can come of the chart: the name of what makes it, and its template (metadata and spec)."""
    for one in manifests:
        if "template" in one.get("spec", {}):
            yield one["metadata"]["name"], one["spec"]["template"]
    yield from embedded_pods(manifests).items()


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
