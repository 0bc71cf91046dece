"""The jars that Spark needs to read a lake: none for a folder, hadoop-aws and a slim AWS SDK for an object store."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# pyspark 4.2.0 carries Hadoop 3.5.0. hadoop-aws asks for the AWS SDK's bundle of 686 MB; these five parts do.
HADOOP_AWS = "org.apache.hadoop:hadoop-aws:3.5.0"
AWS_SDK = ("s3", "sts", "s3-transfer-manager", "apache-client", "netty-nio-client")
AWS_SDK_VERSION = "2.35.4"
# The last groups come with pyspark.
EXCLUDED = (
    "software.amazon.awssdk:bundle",
    "org.wildfly.openssl:*",
    "io.netty:*",
    "org.slf4j:*",
    "commons-logging:*",
    "commons-codec:*",
    "org.apache.httpcomponents:*",
)


def submit_conf(lake_uri: str) -> dict[str, str]:
    """Settings that must be given when Spark is started, because they decide its class path.

    None for a folder, and none where the jars are installed beside Spark's own, as in a container image.
    """
    if not lake_uri.startswith("s3://") or _installed():
        return {}
    sdk = [f"software.amazon.awssdk:{part}:{AWS_SDK_VERSION}" for part in AWS_SDK]
    return {"spark.jars.packages": ",".join([HADOOP_AWS, *sdk]), "spark.jars.excludes": ",".join(EXCLUDED)}


def _installed() -> bool:
    spec = find_spec("pyspark")
    folders = (spec.submodule_search_locations or []) if spec else []
    return any(True for folder in folders for _ in Path(folder, "jars").glob("*hadoop-aws*.jar"))
