"""Alerts: in the log always, at the connection's address where one is named."""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import httpx
import pytest

from darkroom.settings import get_settings

pytestmark = pytest.mark.dags


@pytest.fixture
def hook(monkeypatch):
    """A webhook on this machine, named by a connection: what it was sent, and the status that it answers with."""
    got = SimpleNamespace(requests=[], status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.requests.append((self.path, self.headers["Authorization"], body))
            self.send_response(got.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": server.server_port}
    connection |= {"password": "token", "extra": {"path": "/services/T0"}}
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps(connection))
    monkeypatch.setenv("DARKROOM_ALERT_CONNECTION", "alerts")
    get_settings.cache_clear()
    yield got
    server.shutdown()
    server.server_close()
    get_settings.cache_clear()


def failed():
    return {
        "ti": SimpleNamespace(dag_id="batch_inference", task_id="predict"),
        "dag_run": SimpleNamespace(run_id="manual__1", partition_key="2026-01-31"),
        "exception": ValueError("The image\n is gone."),
    }


def it_names_the_dag_the_date_the_task_and_the_sentence(caplog):
    from darkroom_airflow.notify import Alert

    with caplog.at_level(logging.ERROR):
        Alert()(failed())
    (line,) = caplog.messages
    assert line == (
        "ALERT: batch_inference for 2026-01-31, task predict failed. The image is gone. "
        "http://127.0.0.1:8080/dags/batch_inference/runs/manual__1"
    )


def it_sends_to_the_connection(hook):
    from darkroom_airflow.notify import Alert

    Alert("Something drifts.")({})
    assert hook.requests == [("/services/T0", "Bearer token", {"text": "Something drifts."})]


def it_is_awaited_by_deadlines(hook):
    import asyncio

    from darkroom_airflow.notify import Alert

    async def miss():
        await Alert(text="A date is late.", context={})

    asyncio.run(miss())
    assert hook.requests[0][2] == {"text": "A date is late."}


def it_does_not_hide_that_an_alert_was_not_taken(hook, caplog):
    from darkroom_airflow.notify import tell

    hook.status = 500
    with pytest.raises(httpx.HTTPStatusError), caplog.at_level(logging.ERROR):
        tell("Something drifts.")
    assert "ALERT: Something drifts." in caplog.messages


def it_is_what_every_task_calls_and_a_late_date_too():
    from airflow.sdk import AsyncCallback
    from darkroom_airflow.common import DATE_IS_LATE, DEFAULT_ARGS
    from darkroom_airflow.notify import Alert

    assert isinstance(DEFAULT_ARGS["on_failure_callback"], Alert)
    assert isinstance(DATE_IS_LATE.callback, AsyncCallback)
    assert DATE_IS_LATE.callback.path.endswith("notify.Alert")
