"""The one way that jobs and tests get a Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import darkroom
from darkroom.settings import get_settings
from spark_apps.packages import submit_conf

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Arrow batches of images: at 10 000 rows, the default, one batch would hold gigabytes of pixels.
ROWS_PER_BATCH = 32


@contextmanager
def spark_session(app_name: str, master: str | None = None) -> Iterator[SparkSession]:
    """A Spark session that is stopped at the end, unless one was running before: then that one, and it goes on.

    The master is the one given, else that of spark-submit, else every core of this machine. Workers of a local
    session run this interpreter; on a cluster PYSPARK_PYTHON and the cluster's image decide.
    """
    from pyspark.sql import SparkSession

    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    builder = SparkSession.builder.appName(app_name)
    if master or not submitted:
        master = master or "local[*]"
        builder = builder.master(master)
    else:
        from pyspark import SparkConf

        master = SparkConf().get("spark.master", "") or ""
    for name, value in session_conf(local=master.startswith("local"), submitted=submitted).items():
        builder = builder.config(name, value)
    if master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    borrowed = SparkSession.getActiveSession() is not None
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    try:
        yield session
    finally:
        if not borrowed:
            session.stop()


def session_conf(*, local: bool, submitted: bool) -> dict[str, str]:
    """The settings that every session shares, by Spark's names."""
    conf = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ROWS_PER_BATCH),
        # A partition value such as the hash 12e456 must stay a string.
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # One thread a worker: the partitions are the parallelism.
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    }
    if local:
        conf |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
        # Workers of this machine import what the driver imported, wherever they were started.
        conf["spark.executorEnv.PYTHONPATH"] = str(Path(darkroom.__file__).parents[1])
    if not submitted:
        conf["spark.ui.enabled"] = "false"
    if get_settings().lake_uri.startswith("s3://"):
        from darkroom.storage import StorageOptions

        conf |= StorageOptions.from_settings().spark_conf()
        if not submitted:
            conf |= submit_conf(get_settings().lake_uri)
    return conf
