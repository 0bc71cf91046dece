"""The preprocess job: the missing examples and features of a split, to tables/<dataset>/examples and /features."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from darkroom.outcome import run_job
from darkroom.storage import open_lake
from spark_apps.preprocess import plan_preprocessing, preprocess
from spark_apps.session import spark_session


def make(request: dict[str, Any]) -> dict[str, Any]:
    """Make the examples and features that are missing; where none is, no Spark session is started."""
    started = time.monotonic()
    plan = plan_preprocessing(open_lake(), request)
    if plan.any:
        with spark_session("darkroom-preprocess") as spark:
            result = preprocess(spark, plan)
    else:
        result = plan.result()
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def main(argv: Sequence[str]) -> int:
    return run_job(argv, make)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
