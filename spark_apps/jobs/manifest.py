"""The manifest job: {"dataset", "raw_index", "layout"} to rows of tables/<dataset>/images."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from darkroom.outcome import run_job
from darkroom.storage import open_lake
from spark_apps.manifest import existing_result, make_manifest, plan_manifest
from spark_apps.session import spark_session


def make(request: dict[str, Any]) -> dict[str, Any]:
    """Make the manifest, or say that it exists; then no Spark session is started."""
    started = time.monotonic()
    plan = plan_manifest(open_lake(), request)
    result = existing_result(plan)
    if result is None:
        with spark_session("darkroom-manifest") as spark:
            result = make_manifest(spark, plan)
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def main(argv: Sequence[str]) -> int:
    return run_job(argv, make)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
