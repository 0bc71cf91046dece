"""Plays a task in a process that is killed with all that it started, at a random point of its work."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import psutil

_AT_WORK = "at work"


def play_and_kill(task: str, arguments: dict[str, Any], now: datetime, seconds: float, rng: random.Random) -> float:
    """Lets a child play ``tasks.<task>(**arguments)`` at the moment ``now`` and kills it within ``seconds`` of work.

    Returns after how many seconds. Where the child was done by then, there was nothing left to kill: then 0.
    """
    spec = json.dumps({"task": task, "arguments": arguments, "now": now.isoformat()})
    command = [sys.executable, "-m", "infra.simulation.killed", spec]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == _AT_WORK:
            break
    after = rng.uniform(0.05, 1.0) * seconds
    time.sleep(after)  # the moment of the kill, drawn at random: nothing is waited for
    ended = child.poll() is not None
    with suppress(psutil.NoSuchProcess):
        victims = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    child.communicate()
    return 0.0 if ended else after


def main(argv: list[str]) -> int:
    import time_machine

    from infra.simulation import tasks

    spec = json.loads(argv[0])
    with time_machine.travel(datetime.fromisoformat(spec["now"]), tick=True):
        print(_AT_WORK, flush=True)
        getattr(tasks, spec["task"])(**spec["arguments"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
