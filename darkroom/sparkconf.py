"""The settings that every Spark session of Darkroom shares, as plain text by Spark's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import darkroom
from darkroom.settings import get_settings
from darkroom.storage import StorageOptions


def session_conf(*, local: bool, submitted: bool, rows_per_batch: int) -> dict[str, str]:
    """The settings of a session: ``local`` without a cluster, ``submitted`` when spark-submit started this process.

    ``rows_per_batch``: rows of an Arrow batch. At 10 000, Spark's default, a batch of images would hold gigabytes.
    """
    conf = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(rows_per_batch),
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
    settings = get_settings()
    if settings.allowed_models:  # a file on the machine of each worker
        conf["spark.executorEnv.DARKROOM_ALLOWED_MODELS"] = str(Path(settings.allowed_models).expanduser().absolute())
        conf["spark.executorEnv.DARKROOM_PYFUNC_SECONDS"] = str(settings.pyfunc_seconds)
    if not submitted:
        conf["spark.ui.enabled"] = "false"
    if settings.lake_uri.startswith("s3://"):
        conf |= StorageOptions.from_settings().spark_conf()
    return conf


def give_keys(session: Any) -> None:
    """Gives a running Spark session the login of a lake in an object store: to Hadoop, which sends it to executors.

    Settings of Spark would stand on the command line that starts its JVM, and in its pages and logs.
    """
    if get_settings().lake_uri.startswith("s3://"):
        hadoop = session.sparkContext._jsc.hadoopConfiguration()
        for name, value in StorageOptions.from_settings().spark_keys().items():
            hadoop.set(name, value)
