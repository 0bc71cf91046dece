"""The one plugin file: registers Darkroom's report route with Airflow."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from darkroom_airflow.reports import URL_PREFIX, ReportRoute


class DarkroomPlugin(AirflowPlugin):
    name = "darkroom"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": ReportRoute(), "url_prefix": URL_PREFIX, "name": "Darkroom reports"}
    ]
