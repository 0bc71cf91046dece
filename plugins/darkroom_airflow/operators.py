"""Spark jobs as Airflow tasks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from darkroom.errors import DarkroomError, MachineryError
from darkroom.settings import get_settings
from darkroom_airflow.links import OpenReport
from spark_apps.packages import submit_conf

# What every Spark task is submitted through: one slot on a laptop, and the connection that decides where Spark runs.
SPARK = {"pool": "spark", "conn_id": get_settings().spark_connection}


class SparkJobOperator(SparkSubmitOperator):
    """Submits one of our Spark jobs and returns its result.

    The job (``spark_apps.jobs.<name>`` or ``training.jobs.<name>``) gets ``request`` as JSON and leaves result.json
    or error.json in a folder of this attempt. The result becomes the task's return value (ids and small numbers); an
    error is raised again under its own class, so that the retry policy can tell the user's from the machinery's.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "request")
    operator_extra_links = (OpenReport(),)

    def __init__(self, *, job: str, request: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(application="", **kwargs)
        self.job = job
        self.request = request

    def execute(self, context: Any) -> dict[str, Any]:
        spec = find_spec(self.job)
        if spec is None or spec.origin is None:
            raise MachineryError(
                f"The Spark job {self.job} is not installed beside Airflow. Install the darkroom package."
            )
        with tempfile.TemporaryDirectory(prefix="darkroom-outcome-") as outcome:
            self.application = spec.origin
            self.application_args = ["--request", json.dumps(self.request), "--outcome", outcome]
            self.conf = {**submit_conf(get_settings().lake_uri), **(self.conf or {})}
            self.name = f"{context['ti'].dag_id}.{context['ti'].task_id}"
            failure: Exception | None = None
            try:
                super().execute(context)
            except Exception as error:  # noqa: BLE001 - the job's own error.json says more, and is raised below
                failure = error
            return self._outcome(Path(outcome), failure, context["ti"])

    def _outcome(self, folder: Path, failure: Exception | None, ti: Any) -> dict[str, Any]:
        error_file, result_file = folder / "error.json", folder / "result.json"
        if error_file.is_file():
            error = DarkroomError.from_dict(json.loads(error_file.read_text()))
            if error.page:
                ti.xcom_push("page", error.page)
            raise error from None
        if failure is None and result_file.is_file():
            result: dict[str, Any] = json.loads(result_file.read_text())
            return result
        raise MachineryError(
            f"The Spark job {self.job} ended without a result ({failure or 'spark-submit reported no error'}). It was "
            "killed or could not start; the lines above say more. Nothing half-done is visible: rerunning is safe."
        ) from failure
