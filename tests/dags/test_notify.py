"""Alerts: in the log always, at the connection's address where one is named."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import httpx
import pytest

from darkroom import champions
from darkroom.settings import get_settings
from darkroom.storage import open_lake
from spark_apps.jobs.predict import classify
from tests.packages import champion_of, png

pytestmark = [pytest.mark.dags, pytest.mark.usefixtures("dags")]


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


LATE = (
    "batch_inference for 2026-01-31 has not ended 12 hours after it was queued. Look for a task that waits or hangs: "
    "http://127.0.0.1:8080/dags/batch_inference/runs/manual__1"
)
MISSED = {"dag_run": {"partition_key": "2026-01-31", "dag_run_id": "manual__1"}}


def it_names_the_late_date_where_an_executor_runs_the_callback(hook):
    import structlog
    from airflow.sdk.execution_time.callback_supervisor import execute_callback
    from darkroom_airflow.common import DATE_IS_LATE

    late = DATE_IS_LATE.callback
    done = execute_callback(late.path, {**late.kwargs, "context": dict(MISSED)}, "", None, structlog.get_logger())
    assert done == (True, None)
    assert [body for _, _, body in hook.requests] == [{"text": LATE}]


def it_names_the_late_date_where_a_triggerer_awaits_the_callback(hook):
    import asyncio

    from airflow.triggers.callback import CallbackTrigger
    from darkroom_airflow.common import DATE_IS_LATE

    late = DATE_IS_LATE.callback

    async def told():
        trigger = CallbackTrigger(late.path, {**late.kwargs, "context": dict(MISSED)})
        return [event.payload["state"] async for event in trigger.run()]

    assert asyncio.run(told()) == ["running", "success"]
    assert [body for _, _, body in hook.requests] == [{"text": LATE}]


@pytest.fixture
def inboxes(tmp_path, monkeypatch):
    """A lake with a complete feed, an empty one and one that is still being filled, and a wait of one second."""
    monkeypatch.setenv("DARKROOM_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("DARKROOM_INBOX_WAIT_SECONDS", "1")
    monkeypatch.setenv("DARKROOM_INBOX_SETTLE_SECONDS", "2")
    get_settings.cache_clear()
    lake = open_lake()
    champions.append(lake, "lamps", champion_of(lake), now=datetime(2026, 1, 31, tzinfo=UTC))
    for feed in ("full", "empty", "filling"):
        lake.write(f"inbox/{feed}/_feed.json", b'{"model": "lamps"}')
    lake.write("inbox/full/dt=2026-01-31/_SUCCESS", b"")
    lake.write("inbox/filling/dt=2026-01-31/1.png", png(90, 1))
    yield lake
    get_settings.cache_clear()


def run_of_date(run_type, rerun=0):
    """The tasks of batch_inference, one after the other, without Airflow; what ``summarise`` returns."""
    from darkroom_airflow import dates
    from darkroom_airflow.common import PREDICTIONS

    began = datetime(2026, 2, 1, tzinfo=UTC)
    run = SimpleNamespace(partition_key="2026-01-31", run_type=run_type, start_date=began, clear_number=rerun)
    results = [classify(request) for request in dates.find_feeds.function(params={}, dag_run=run)]
    told = {PREDICTIONS: SimpleNamespace(extra=None)}
    return dates.summarise.function(results, params={}, dag_run=run, outlet_events=told)


def it_tells_once_of_a_scheduled_date_whose_images_did_not_arrive(hook, inboxes):
    assert run_of_date("scheduled")["incomplete"] == ["empty", "filling"]
    ((_, _, body),) = hook.requests
    assert body == {
        "text": "Images of 2026-01-31 did not all arrive. After 1 s there was no _SUCCESS, and nothing or still "
        "changing files, in inbox/empty/dt=2026-01-31, inbox/filling/dt=2026-01-31. No row was written there. When "
        "the images are there, trigger batch_inference for 2026-01-31; reconcile finds them too."
    }


def it_tells_of_no_complete_date_and_of_none_that_did_not_wait(hook, inboxes):
    inboxes.delete("inbox/filling/dt=2026-01-31/1.png")
    for run_type in ("manual", "backfill"):
        assert run_of_date(run_type)["incomplete"] == []
    for feed in ("empty", "filling"):
        inboxes.write(f"inbox/{feed}/dt=2026-01-31/_SUCCESS", b"")
    assert run_of_date("scheduled")["incomplete"] == []
    assert hook.requests == []


def it_does_not_hide_that_an_alert_was_not_taken(hook, caplog):
    from darkroom_airflow.notify import tell

    hook.status = 500
    with pytest.raises(httpx.HTTPStatusError), caplog.at_level(logging.ERROR):
        tell("Something drifts.")
    assert "ALERT: Something drifts." in caplog.messages


def it_is_what_every_task_calls_and_a_late_date_too():
    from airflow.sdk import SyncCallback
    from darkroom_airflow.common import DATE_IS_LATE, DEFAULT_ARGS
    from darkroom_airflow.notify import Alert

    assert isinstance(DEFAULT_ARGS["on_failure_callback"], Alert)
    assert isinstance(DATE_IS_LATE.callback, SyncCallback)  # where the executor is LocalExecutor, as it is here
    assert DATE_IS_LATE.callback.path.endswith("notify.Alert")
