"""The one way that jobs and tests get a Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from darkroom import sparkconf
from darkroom.settings import get_settings
from spark_apps.packages import submit_conf

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS_PER_BATCH = 32  # of encoded images or their pixels, in an Arrow batch


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
    sparkconf.give_keys(session)
    try:
        yield session
    finally:
        if not borrowed:
            session.stop()


def session_conf(*, local: bool, submitted: bool) -> dict[str, str]:
    """The settings of a job's session; those that choose jars only where no spark-submit has chosen them."""
    conf = sparkconf.session_conf(local=local, submitted=submitted, rows_per_batch=ROWS_PER_BATCH)
    return conf if submitted else conf | submit_conf(get_settings().lake_uri)
