"""Runs the predict job until its first commit, waits there for a file, and goes on: the job's arguments after these."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spark_apps.jobs import predict

_ENOUGH_SECONDS = 200


def main(argv: Sequence[str]) -> int:
    """``argv``: the file to make when the rows are written, the file to wait for, and what the job takes."""
    ready, awaited, *arguments = argv
    commit = predict.commit_predictions

    def commit_later(*given: Any) -> int:
        if not Path(ready).exists():
            Path(ready).touch()
            end = time.monotonic() + _ENOUGH_SECONDS
            while not Path(awaited).exists() and time.monotonic() < end:
                time.sleep(0.05)
        return commit(*given)

    predict.commit_predictions = commit_later
    return predict.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
