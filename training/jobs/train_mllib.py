"""The Spark job that trains one MLlib config; started through spark-submit."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from darkroom.errors import InvalidRequest
from darkroom.outcome import run_job
from darkroom.sparkconf import give_keys, session_conf
from darkroom.storage import open_lake
from training.config import MllibConfig, load_config
from training.data import read_split
from training.flow import train_task

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS_PER_BATCH = 512  # of examples, which are small, in an Arrow batch


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Trains the config of one task of ``training.flow.plan``. Trained before: no Spark session is started."""
    config = load_config(request["name"])
    if not isinstance(config, MllibConfig):
        raise InvalidRequest(f"{config.name} is trained by {config.engine}, not by Spark. Call training.flow.train.")
    lake = open_lake()

    def fit(on_step: Callable[..., None]) -> tuple[bytes, dict[str, Any]]:
        from training.mllib_engine import train_mllib

        split = read_split(lake, request["dataset"], request["split_id"])
        with session() as spark:
            trained = train_mllib(spark, lake, request["dataset"], split, config)
        for step, row in enumerate(trained.history, 1):
            on_step(step, row)
        kept = trained.history[trained.best - 1]["regularization"]
        return trained.graph, {"fit_seconds": trained.seconds, "kept_regularization": kept}

    return train_task(lake, request, fit)


@contextmanager
def session() -> Iterator[SparkSession]:
    """spark-submit's session, or a local one; stopped at the end unless it was running before."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("darkroom-train")
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not submitted:
        builder = builder.master("local[*]")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    conf = session_conf(local=not submitted, submitted=submitted, rows_per_batch=ROWS_PER_BATCH)
    for name, value in conf.items():
        builder = builder.config(name, value)
    borrowed = SparkSession.getActiveSession() is not None
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    give_keys(spark)
    try:
        yield spark
    finally:
        if not borrowed:
            spark.stop()


def main(argv: Sequence[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_job(argv, train)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
