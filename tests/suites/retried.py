"""A driver whose Spark tries a task twice: python -m tests.suites.retried <lake> <file of the first attempt>."""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from darkroom.storage import open_storage
from spark_apps.session import spark_session
from tests.suites import placed
from training.config import parse_config
from training.experiments.placement import Cluster, Unit
from training.kinds import Job


def main(lake: str, mark: str) -> None:
    """Prints the result, the steps and the lines that this process hears of one fit, as JSON."""
    lines: list[str] = []
    steps: list[int] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logging.getLogger("training").addHandler(Lines())
    logging.getLogger("training").setLevel(logging.INFO)
    config = parse_config({"name": "cnn", "kind": "small_cnn"})
    job = Job(open_storage(lake), "lamps", pa.table({}), config, 0, lambda step, values: steps.append(step))
    work: Any = partial(placed.break_down_once, Path(mark))
    with spark_session("darkroom-retried", master="local[1,2]") as spark:
        ((_, result),) = Cluster(spark.sparkContext, 1).run([Unit("model", job, work)])
    print("\n" + json.dumps({"result": result, "steps": steps, "lines": lines}))


if __name__ == "__main__":
    main(*sys.argv[1:])
