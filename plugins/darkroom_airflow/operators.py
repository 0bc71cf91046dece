"""Spark jobs as Airflow tasks."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from darkroom.contract import job_outcome
from darkroom.errors import DarkroomError, DataError, MachineryError
from darkroom.settings import get_settings
from darkroom.storage import FolderStorage, Storage, open_lake
from darkroom.writer import RUN_VARIABLE
from darkroom_airflow.lineage_events import TellsLineage
from darkroom_airflow.links import OpenMlflow, OpenReport, name_run
from spark_apps.packages import submit_conf

# What every Spark task is submitted through: one slot on a laptop, and the connection that decides where Spark runs.
SPARK = {"pool": "spark", "conn_id": get_settings().spark_connection}

# MLlib computes with Java's vector API, which the quick compiler alone (spark-defaults.conf) makes many times slower.
TRAINING = {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC"}

_OUT_OF_MEMORY = "Error code is: 52"  # Spark's exit code, in spark-submit's report


class SparkJobOperator(TellsLineage, SparkSubmitOperator):
    """Submits one of our Spark jobs and returns its result.

    The job (``spark_apps.jobs.<name>`` or ``training.jobs.<name>``) gets ``request`` as JSON and leaves result.json
    or error.json in a folder of this attempt. The result becomes the task's return value (ids and small numbers); an
    error is raised again under its own class, so that the retry policy can tell the user's from the machinery's.

    Through a ``k8s://`` connection in cluster mode the driver is a pod of its own, named here, that leaves its outcome
    in the lake under its name. A later attempt finds the pod of the earlier one and waits for it, instead of starting
    another.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "request")
    operator_extra_links = (OpenReport(), OpenMlflow())

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
        self.conf = {**submit_conf(get_settings().lake_uri), **(self.conf or {})}
        name_run(context)
        self.name = f"{context['ti'].dag_id}.{context['ti'].task_id}"
        hook = self._get_hook()
        if hook._is_kubernetes and hook._connection["deploy_mode"] == "cluster":
            self._track_driver_via_k8s_api = True
            self.application = f"local://{spec.origin}"  # the image has it at the same path
            failure = self._submit(context)
            return self._outcome(open_lake(), job_outcome(self._driver_pod), failure, context["ti"])
        with tempfile.TemporaryDirectory(prefix="darkroom-outcome-") as outcome:
            self.application = spec.origin
            self.application_args = ["--request", json.dumps(self.request), "--outcome", outcome]
            failure = self._submit(context)
            return self._outcome(FolderStorage(Path(outcome)), "", failure, context["ti"])

    def lineage_name(self) -> str:
        return self.job

    def lineage_request(self) -> dict[str, Any]:
        return self.request

    def submit_job(self, context: Any) -> Any:
        """Called for a driver that is new, never for one that an earlier attempt left running."""
        self._driver_pod = f"darkroom-{uuid.uuid4().hex}-driver"
        hook = self._hook
        # Told, not read from the log: there the provider finds a pod only in a namespace called spark.
        hook._kubernetes_driver_pod = hook._conf["spark.kubernetes.driver.pod.name"] = self._driver_pod
        hook._conf[f"spark.kubernetes.driverEnv.{RUN_VARIABLE}"] = os.environ[RUN_VARIABLE]
        outcome = job_outcome(self._driver_pod)
        hook._application_args = ["--request", json.dumps(self.request), "--outcome", outcome]
        return super().submit_job(context)

    def poll_until_complete(self, external_id: Any, context: Any) -> None:
        self._driver_pod = self._parse_k8s_external_id(external_id)[1]
        super().poll_until_complete(external_id, context)

    def get_job_result(self, external_id: Any, context: Any) -> None:
        self._driver_pod = self._parse_k8s_external_id(external_id)[1]

    def _submit(self, context: Any) -> Exception | None:
        self._driver_pod = ""
        try:
            super().execute(context)
        except Exception as error:  # noqa: BLE001 - the job's own error.json says more, and is raised instead
            return error
        return None

    def _outcome(self, storage: Storage, folder: str, failure: Exception | None, ti: Any) -> dict[str, Any]:
        place = f"{folder}/" if folder else ""
        if _OUT_OF_MEMORY in str(failure):
            raise DataError(
                f"The Spark job {self.job} needs more memory than its JVM has. Expected it to fit. Ask for less (a "
                "smaller transform, fewer features), or raise spark.driver.memory in Spark's configuration."
            ) from failure
        if storage.stat(f"{place}error.json"):
            error = DarkroomError.from_dict(json.loads(storage.read(f"{place}error.json")))
            if error.page:
                ti.xcom_push("page", error.page)
            raise error from None
        if failure is None and storage.stat(f"{place}result.json"):
            self.told = json.loads(storage.read(f"{place}result.json"))
            return dict(self.told)
        raise MachineryError(
            f"The Spark job {self.job} ended without a result ({failure or 'spark-submit reported no error'}). It was "
            "killed or could not start; the lines above say more. Nothing half-done is visible: rerunning is safe."
        ) from failure
