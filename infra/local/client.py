"""A small client of Airflow's REST API: trigger, watch, backfill."""

from __future__ import annotations

import time
from typing import Any

import httpx

from infra.local.environment import Local, credentials

DONE = {"success", "failed"}


class AirflowClient:
    """Talks to the local Airflow as its admin user."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._http = httpx.Client(base_url=local.airflow_url, timeout=30, trust_env=False)
        self._login()

    def _login(self) -> None:
        keys = credentials(self._local)
        answer = self._http.post("/auth/token", json={"username": keys["user"], "password": keys["password"]})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One API call below /api/v2; an expired login is renewed once. Raises httpx.HTTPStatusError with the body.

        On SQLite, Airflow answers 500 to a call that meets another writer and does nothing then: it is asked again.
        """
        for _ in range(5):
            answer = self._http.request(method, f"/api/v2{path}", **kwargs)
            if answer.status_code != 500 or "Database error" not in answer.text:
                break
            time.sleep(1)  # for the other writer
        if answer.status_code == 401:
            self._login()
            answer = self._http.request(method, f"/api/v2{path}", **kwargs)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text[:500]}", request=answer.request, response=answer
            )
        return answer.json() if answer.content else None

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Makes a pool unless it is there."""
        pools = self.call("GET", "/pools")["pools"]
        if name not in {pool["name"] for pool in pools}:
            body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self.call("POST", "/pools", json=body)

    def wait_for_dags(self, dag_ids: list[str], seconds: float = 120) -> None:
        """Returns when the DAG processor has found these DAGs. Raises TimeoutError with the import errors."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = {dag["dag_id"] for dag in self.call("GET", "/dags", params={"limit": 100})["dags"]}
            if set(dag_ids) <= found:
                return
            time.sleep(0.5)  # between two questions to the API
        errors = self.call("GET", "/importErrors")["import_errors"]
        detail = errors[0]["stack_trace"].strip().splitlines()[-1] if errors else "no import error is recorded"
        raise TimeoutError(
            f"the DAGs {', '.join(sorted(set(dag_ids) - found))} did not appear in {seconds:.0f} s: {detail}"
        )

    def trigger(self, dag_id: str, conf: dict[str, Any], partition_key: str | None = None) -> str:
        """Starts a run; returns its run_id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf}
        if partition_key:
            body["partition_key"] = partition_key
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def wait_for_backfills(self, dag_id: str, seconds: float = 180) -> None:
        """Returns when no backfill of the DAG is open. Airflow takes one at a time, and closes it a while after it."""
        deadline = time.monotonic() + seconds
        query = {"dag_id": dag_id}
        while any(not one["completed_at"] for one in self.call("GET", "/backfills", params=query)["backfills"]):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"a backfill of {dag_id} is still open after {seconds:.0f} s; see Airflow's backfills"
                )
            time.sleep(1)  # between two looks at the list

    def backfill(self, dag_id: str, first: str, last: str, conf: dict[str, Any]) -> int:
        """Backfills the dates first..last, those that already ran too; returns the backfill's id."""
        self.wait_for_backfills(dag_id)
        body = {
            "dag_id": dag_id,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "dag_run_conf": conf,
            "reprocess_behavior": "completed",
            "max_active_runs": 2,
        }
        return int(self.call("POST", "/backfills", json=body)["id"])

    def runs(self, dag_id: str, since: str | None = None) -> list[dict[str, Any]]:
        """The newest runs, newest first; only those made after ``since`` (ISO time, UTC) when it is given."""
        params: dict[str, Any] = {"order_by": "-id", "limit": 50}
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag_id}/dagRuns", params=params)["dag_runs"]
        return [run for run in found if since is None or not run["queued_at"] or run["queued_at"] >= since]

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        found: list[dict[str, Any]] = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")[
            "task_instances"
        ]
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task returned, or None."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            return self.call("GET", path, params={"map_index": map_index, "deserialize": False, "stringify": False})[
                "value"
            ]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    def log_tail(self, dag_id: str, run_id: str, task: dict[str, Any], lines: int = 12) -> list[str]:
        """The last useful lines of a task's newest log."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
        answer = self.call("GET", path, params={"map_index": task["map_index"]}, headers={"Accept": "application/json"})
        useful = [line for entry in answer["content"] for line in _lines_of(entry)]
        return useful[-lines:]


def _lines_of(entry: Any) -> list[str]:
    """What a person reads of one log entry: its text, and the class and message of an error."""
    if isinstance(entry, str):
        return [entry]
    text = str(entry.get("event", ""))
    lines = [] if not text.strip() or text.startswith("::") else [text]
    return lines + [f"{error['exc_type']}: {error['exc_value']}" for error in entry.get("error_detail") or []]
