"""Buttons on finished tasks."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

from darkroom.settings import get_settings
from darkroom.writer import RUN_VARIABLE

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


def run_url(dag_run: Any) -> str:
    """Where a browser finds a DAG run."""
    return f"{get_settings().airflow_url}/dags/{dag_run.dag_id}/runs/{quote(dag_run.run_id, safe='')}"


def name_run(context: Any) -> None:
    """Commits of this task, and of the processes that it starts, say whose they are."""
    os.environ[RUN_VARIABLE] = run_url(context["dag_run"])


def _returned(ti_key: Any) -> dict[str, Any]:
    value = BaseXCom.get_value(ti_key=ti_key, key="return_value")
    return value if isinstance(value, dict) else {}
