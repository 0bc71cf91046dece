"""A challenger that nobody answers for: the run that waits since test_approval.py."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def it_ends_green_without_an_answer(client, forgotten):
    assert finished(client, "promote_champion", forgotten)["state"] == "success"
    states = {task["task_id"]: task["state"] for task in client.tasks("promote_champion", forgotten)}
    assert states == {"propose": "success", "approve": "success", "promote_approved": "skipped"}
