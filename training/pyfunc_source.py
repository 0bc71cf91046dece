"""MLflow models that were made elsewhere: fetched as files. Nothing of them is run or unpickled."""

from __future__ import annotations

import tempfile
from pathlib import Path

from darkroom.errors import MachineryError, SourceError
from darkroom.pyfunc.folder import HOW
from darkroom.settings import get_settings
from darkroom.sources.base import without_login
from training import tracking

_USERS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")


def downloaded(uri: str) -> dict[str, bytes]:
    """The files of a model by their paths in its folder.

    ``uri``: what mlflow.artifacts.download_artifacts takes: models:/name/3, runs:/id/model, s3://bucket/model, a
    folder. Raises SourceError for an address without a folder or a folder that is too large, MachineryError where
    MLflow fails.
    """
    tracking.open_client()
    import mlflow
    import requests

    shown = without_login(uri)
    limit = get_settings().max_weights_bytes
    with tempfile.TemporaryDirectory() as target:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=target))
        except Exception as error:  # each kind of store has errors of its own
            reason = " ".join(str(error).split())[:300]
            known = getattr(error, "error_code", None) in _USERS
            outside = isinstance(error, (mlflow.MlflowException, requests.RequestException)) and not known
            raise (MachineryError if outside else SourceError)(
                f"The model {shown} cannot be fetched ({reason}). Expected an address that MLflow knows, such as "
                f"models:/name/3, the right to read it, and servers that answer. {HOW}"
            ) from error
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            raise SourceError(f"The address {shown} has no folder of files. Expected that of an MLflow model. {HOW}")
        if (size := sum(path.stat().st_size for path in paths)) > limit:
            raise SourceError(
                f"The model {shown} has {size:,} bytes. Expected at most {limit:,}. Trust it? Raise "
                "DARKROOM_MAX_WEIGHTS_BYTES."
            )
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
