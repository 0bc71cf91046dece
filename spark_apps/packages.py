"""What Spark needs to read a lake: nothing for a folder; hadoop-aws and a slim AWS SDK for an object store, and
trust in the private CA that signed its certificate."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

from darkroom.settings import get_settings
from darkroom.storage import FolderStorage, StorageOptions

# pyspark 4.2.0 carries Hadoop 3.5.0. hadoop-aws asks for the AWS SDK's bundle of 686 MB; these five parts do.
HADOOP_AWS = "org.apache.hadoop:hadoop-aws:3.5.0"
AWS_SDK = ("s3", "sts", "s3-transfer-manager", "apache-client", "netty-nio-client")
AWS_SDK_VERSION = "2.35.4"
_TRUSTSTORE = "truststore.p12"
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

    None for a folder. No jars where they are installed beside Spark's own, as in a container image.
    """
    if not lake_uri.startswith("s3://"):
        return {}
    trust = truststore_conf()
    if _installed():
        return trust
    sdk = [f"software.amazon.awssdk:{part}:{AWS_SDK_VERSION}" for part in AWS_SDK]
    jars = {"spark.jars.packages": ",".join([HADOOP_AWS, *sdk]), "spark.jars.excludes": ",".join(EXCLUDED)}
    return jars | trust


def truststore_conf() -> dict[str, str]:
    """Settings that make Spark's JVMs trust the CA in DARKROOM_S3_CA_FILE beside the public ones; none without it.

    Java reads no PEM file: the certificates are put into <home>/truststore.p12, which holds no secret.
    """
    settings = get_settings()
    if not settings.s3_ca_file:
        return {}
    import certifi
    from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
    from cryptography.x509 import load_pem_x509_certificates

    public = Path(certifi.where()).read_bytes()
    with warnings.catch_warnings(action="ignore"):  # about a public CA's odd serial number
        known = load_pem_x509_certificates(StorageOptions.from_settings().ca.encode() + public)
    entries = [pkcs12.PKCS12Certificate(one, f"ca{number}".encode()) for number, one in enumerate(known)]
    home = FolderStorage(settings.home)
    home.write(_TRUSTSTORE, pkcs12.serialize_java_truststore(entries, NoEncryption()))
    place = f"-Djavax.net.ssl.trustStore={home.uri(_TRUSTSTORE)} -Djavax.net.ssl.trustStoreType=PKCS12"
    return {"spark.driver.defaultJavaOptions": place, "spark.executor.defaultJavaOptions": place}


def _installed() -> bool:
    spec = find_spec("pyspark")
    folders = (spec.submodule_search_locations or []) if spec else []
    return any(True for folder in folders for _ in Path(folder, "jars").glob("*hadoop-aws*.jar"))
