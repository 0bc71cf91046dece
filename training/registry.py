"""Models in MLflow: a package logged as a pyfunc model, a registered version a challenger, the champion's alias."""

from __future__ import annotations

import logging
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom import champions
from darkroom.codedigest import package_folder
from darkroom.settings import get_settings
from darkroom.storage import Storage
from training.tracking import open_client, reached

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

ALIAS, ALIAS_BEFORE = "champion", "previous"
# What a model server needs to predict with a package. Given, since inferring them takes MLflow half a minute.
REQUIREMENTS = (
    *("mlflow", "minio", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "pyarrow"),
    *("mahotas", "pydantic", "pydantic-settings", "scikit-image", "simplejpeg"),
)


def log_package(lake: Storage, package: str, package_id: str) -> str:
    """Logs a package of the lake to the active run, as a model that takes image bytes. Returns its id."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label", required=False),
                ColSpec(DataType.double, "score", required=False),
                ColSpec(Array(DataType.double), "probabilities", required=False),
                ColSpec(DataType.string, "problem", required=False),
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The signature is written out above; running an example to infer it costs half a minute.
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        local = Path(folder) / f"{package_id}.zip"
        lake.download(package, local)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"package": str(local), "code": str(_packed_code(Path(folder)))},
            signature=signature,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    return str(logged.model_id)


def _packed_code(folder: Path) -> Path:
    """The darkroom package in one file: as code_paths, each of its many files would be an upload of its own."""
    package = package_folder("darkroom")
    target = folder / "darkroom.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.write(path, path.relative_to(package.parent))
    return target


def register(client: MlflowClient, model: str, run_id: str, model_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """The version of a challenger in the registry; made once for a run, its tags brought up to date."""
    import mlflow

    try:
        client.create_registered_model(model)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = [one for one in client.search_model_versions(f"name = '{model}'") if one.run_id == run_id]
    if found:
        registered = max(found, key=lambda one: int(one.version))
    else:
        logged = client.get_logged_model(model_id)
        registered = client.create_model_version(
            model, logged.artifact_location, run_id=run_id, model_id=model_id, await_creation_for=60
        )
    for name, value in tags.items():
        client.set_model_version_tag(model, registered.version, name, value)
    return registered


def standing(champion: champions.Champion | None) -> str:
    """What holds when MLflow fails after the champion history was written."""
    entry = f"entry {champion.number} of the champion history stands" if champion else "no champion stands"
    return f"{entry}; the alias follows on the next try"


def version_page(model: str, version: str) -> str:
    """Where a browser finds a model version; empty where MLflow has no address."""
    address = get_settings().mlflow_tracking_uri
    return f"{address}/#/models/{model}/versions/{version}" if address.startswith("http") else ""


def repair_alias(lake: Storage, model: str) -> str | None:
    """Points the aliases ``champion`` and ``previous`` to what the history says; returns the champion's version.

    None where there is no champion (the aliases are then removed), or where MLflow does not know its version, which
    a warning tells: batch inference does not need MLflow. Raises MachineryError where MLflow does not answer; the
    history stands then, and the next call moves the aliases.
    """
    client = open_client()
    promoted = champions.standing(lake, model)
    champion = promoted[-1] if promoted else None
    with reached(standing(champion)):
        _point(client, model, ALIAS_BEFORE, promoted[-2].version if len(promoted) > 1 else None)
        return _point(client, model, ALIAS, champion.version if champion else None)


def _point(client: MlflowClient, model: str, alias: str, version: str | None) -> str | None:
    import mlflow

    try:
        if version is None:
            client.delete_registered_model_alias(model, alias)
        else:
            client.set_registered_model_alias(model, alias, version)
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        if version is not None:
            log.warning(
                "MLflow does not know version %s of %s: its alias %r was not moved. The champion history counts.",
                *(version, model, alias),
            )
        return None
    return version
