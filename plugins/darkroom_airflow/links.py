"""Buttons on finished tasks."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

REPORTS_URL = "/darkroom/"


class OpenReport(BaseOperatorLink):
    """Opens the page that a task named: under ``page`` in its return value, or pushed as ``page`` when it failed."""

    name = "Open report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        page = _returned(ti_key).get("page") or BaseXCom.get_value(ti_key=ti_key, key="page")
        return f"{REPORTS_URL}{page}" if page else ""


class OpenMlflow(BaseOperatorLink):
    """Opens the MLflow page that a task named under ``mlflow_url`` in its return value."""

    name = "Open in MLflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return str(_returned(ti_key).get("mlflow_url") or "")


def _returned(ti_key: Any) -> dict[str, Any]:
    value = BaseXCom.get_value(ti_key=ti_key, key="return_value")
    return value if isinstance(value, dict) else {}
