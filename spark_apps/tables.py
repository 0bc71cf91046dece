"""Tables of the lake as Spark DataFrames: one version, read as a list of files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from darkroom.tables import Table


def read_table(
    spark: SparkSession,
    table: Table,
    partition: Mapping[str, str] | None = None,
    *,
    version: int | None = None,
    as_stored: bool = False,
) -> DataFrame:
    """The rows of a table (of a partition, of a version), with the contract's columns and types, in no given order.

    ``as_stored``: columns and types as the files have them, so that they can be checked. A table without files is an
    empty DataFrame of the contract's schema.
    """
    schema = from_arrow_schema(table.spec.schema)
    files = [spark_path(uri) for uri in table.files(partition, version=version)]
    if not files:
        return spark.createDataFrame([], schema)
    reader = spark.read.option("basePath", _scheme(table.uri))
    # Values such as the hash 12e456 would turn into numbers.
    spark.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    return reader.option("mergeSchema", "true").parquet(*files) if as_stored else reader.schema(schema).parquet(*files)


def spark_path(uri: str) -> str:
    """A file's address for Spark's readers, which take s3a:// for an object store and see globs in [ ] { } * ?."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", _scheme(uri))


def _scheme(uri: str) -> str:
    return "s3a://" + uri.removeprefix("s3://") if uri.startswith("s3://") else uri
