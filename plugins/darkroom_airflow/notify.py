"""Alerts: to the log, or to the Airflow connection that DARKROOM_ALERT_CONNECTION names.

The connection is an address that takes ``{"text": ...}`` by POST, as the incoming webhooks of Slack, Mattermost and
Teams do; its password, where it has one, is sent as a bearer token.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from airflow.sdk import BaseNotifier

from darkroom.settings import get_settings

log = logging.getLogger(__name__)

_SECONDS = 20


class Alert(BaseNotifier):
    """Tells a person. Without ``text``: of the task that failed, with its sentence."""

    template_fields = ("text",)

    def __init__(self, text: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def notify(self, context: Any) -> None:
        tell(self.text or failure(context))

    async def async_notify(self, context: Any) -> None:
        await asyncio.to_thread(self.notify, context)


def failure(context: Any) -> str:
    """The DAG, the date, the task and the sentence, and where to look."""
    ti, run = context["ti"], context["dag_run"]
    date = getattr(run, "partition_key", None)
    place = f"{ti.dag_id}{f' for {date}' if date else ''}, task {ti.task_id}"
    error = context.get("exception")
    sentence = " ".join(str(error).split()) if error else "It ended without an error of its own; its log says more."
    return f"{place} failed. {sentence} {get_settings().airflow_url}/dags/{ti.dag_id}/runs/{run.run_id}"


def tell(text: str) -> None:
    """Sends one alert. It is in the log too, always. Raises httpx.HTTPError where the address does not take it."""
    log.error("ALERT: %s", text)
    name = get_settings().alert_connection
    if not name:
        return
    import httpx
    from airflow.sdk import Connection

    connection = Connection.get(name)
    host = connection.host or ""
    if "://" not in host:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
        host = f"{scheme}://{host}"
    address = f"{host}:{connection.port}" if connection.port else host
    address += connection.extra_dejson.get("path", "")
    headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    httpx.post(address, json={"text": text}, headers=headers, timeout=_SECONDS).raise_for_status()
