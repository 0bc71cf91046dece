"""Challengers that wait for a person: approved, rejected, and approved too late. And the way back.

One that nobody answers waits beside them: test_unanswered.py looks at it, last of all files.
"""

from __future__ import annotations

import time

import pytest

from darkroom import champions
from darkroom.storage import open_storage
from tests.e2e.conftest import finished
from tests.suites.verdicts import MODEL, verdict_on

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

DAG = "promote_champion"
CASES = ("approved", "rejected", "late")


def answered(client, run_id, option):
    """The run once it has ended. Answers whenever it asks.

    An answer within the second in which the task parks can reach Airflow before the task's process has ended. The
    scheduler then takes the end of that process for a task that died, and asks again.
    """
    path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    deadline = time.monotonic() + 120
    while (run := client.run(DAG, run_id))["state"] not in {"success", "failed"}:
        assert time.monotonic() < deadline, states(client, run_id)
        if states(client, run_id).get("approve") == "awaiting_input":
            client.call("PATCH", path, json={"chosen_options": [option], "params_input": {}})
        time.sleep(0.5)  # between two looks at the run
    return run


def states(client, run_id):
    return {task["task_id"]: task["state"] for task in client.tasks(DAG, run_id)}


@pytest.fixture(scope="module")
def lake(running):
    return open_storage(running.local.lake)


@pytest.fixture(scope="module")
def ended(client, lake, forgotten):
    """The run of each case, ended. All of them wait side by side before the first is answered."""
    client.wait_for_dags(["rollback_champion"])
    runs = {"forgotten": forgotten}
    for number, case in enumerate(CASES, 1):
        verdict_on(lake, number, None)
        runs[case] = client.trigger(DAG, {"model": MODEL, "gate_key": f"{number:016x}"})
    deadline = time.monotonic() + 60
    while any(states(client, run).get("approve") != "awaiting_input" for run in runs.values()):
        assert time.monotonic() < deadline, {case: states(client, run) for case, run in runs.items()}
        time.sleep(0.5)  # between two looks at the runs
    del runs["forgotten"]
    for case, option in (("rejected", "Reject"), ("approved", "Approve"), ("late", "Approve")):
        answered(client, runs[case], option)
    return {case: finished(client, DAG, run) for case, run in runs.items()}


def it_promotes_what_a_person_approved_and_says_who(ended, lake):
    assert ended["approved"]["state"] == "success"
    (entry,) = champions.history(lake, MODEL)
    assert entry["version"] == "1"
    assert (entry["details"]["by"]["approval"], entry["details"]["by"]["name"]) == ("person", "admin")


def it_ends_green_after_a_no(client, ended):
    assert ended["rejected"]["state"] == "success"
    assert states(client, ended["rejected"]["dag_run_id"])["promote_approved"] == "skipped"


def it_refuses_an_approval_that_is_stale(client, ended):
    run = ended["late"]["dag_run_id"]
    assert ended["late"]["state"] == "failed"
    (failed,) = [task for task in client.tasks(DAG, run) if task["state"] == "failed"]
    assert (failed["task_id"], failed["try_number"]) == ("promote_approved", 1)
    assert "has changed since the gate compared with it" in "\n".join(client.log_tail(DAG, run, failed))


@pytest.mark.usefixtures("ended")
def it_goes_back_to_an_earlier_champion(client, lake):
    first = champions.current(lake, MODEL)
    verdict_on(lake, 7, first)
    run = client.trigger(DAG, {"model": MODEL, "gate_key": f"{7:016x}"})
    assert answered(client, run, "Approve")["state"] == "success"
    assert champions.current(lake, MODEL).version == "7"
    back = client.trigger("rollback_champion", {"model": MODEL, "reason": "trained on leaked images"})
    assert finished(client, "rollback_champion", back)["state"] == "success"
    assert champions.current(lake, MODEL) == first
    assert champions.history(lake, MODEL)[-1]["by"] == "admin"
