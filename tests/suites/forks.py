"""Processes of a test's own, forked from one that has imported what they need and started no threads."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forks() -> ForkServerContext:
    """The context to start processes in. The server imports once a session, so all that use it name their modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.suites.racing", "tests.crash.points"])
    return context
