"""Who writes: the run that a task belongs to, kept with every commit to a table.

A task names its run in this variable, and the processes that it starts inherit it. It is no setting: nobody sets it by
hand, and nothing that is written to a table depends on it.
"""

from __future__ import annotations

import os

RUN_VARIABLE = "DARKROOM_RUN"
"""Holds the address of the run's page."""


def written_by() -> dict[str, str]:
    """{"run": the address of the run that works here}; empty outside of one."""
    run = os.environ.get(RUN_VARIABLE)
    return {"run": run} if run else {}
