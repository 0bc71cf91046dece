"""The one plugin file: registers Darkroom's report route and its sign-up page with Airflow."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin
from darkroom_airflow.reports import URL_PREFIX, ReportRoute
from darkroom_airflow.signup import SIGNUP_PREFIX, SignupRoute


class DarkroomPlugin(AirflowPlugin):
    name = "darkroom"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": ReportRoute(), "url_prefix": URL_PREFIX, "name": "Darkroom reports"},
        {"app": SignupRoute(), "url_prefix": SIGNUP_PREFIX, "name": "Darkroom sign-up"},
    ]
