"""The Spark job that trains one config that is trained in Spark; started through spark-submit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from darkroom.outcome import run_job
from darkroom.storage import open_lake
from training import flow


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Trains the config of one task of ``training.flow.plan``. Trained before: no Spark session is started."""
    return flow.train(open_lake(), request)


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("py4j").setLevel(logging.ERROR)  # it tells of each connection that closes
    return run_job(argv, train)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
