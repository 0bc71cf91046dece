"""A lake over https with a private CA, read by Python, deltalake and Spark; and keys that no log or error shows."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.errors import DarkroomError, InvalidRequest
from darkroom.prepare_request import PrepareRequest
from darkroom.settings import Settings, get_settings
from darkroom.storage import S3Storage, StorageOptions, open_lake
from darkroom.tables import Table
from spark_apps.packages import submit_conf
from tests.integration.faults import Gateway, gateway, private_ca, settings_of
from tests.integration.servers import free_port
from tests.suites.rows import PARTITION, SPEC, rows

pytestmark = [pytest.mark.integration, pytest.mark.faults]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A server with a certificate of a private CA, and the CA's file."""
    folder = tmp_path_factory.mktemp("private")
    certificate = private_ca(folder / "certificates")
    with gateway(folder / "server", certificate) as server:
        yield server, certificate.ca


@pytest.fixture
def private_lake(private: tuple[Gateway, Path], tmp_path: Path) -> Iterator[S3Storage]:
    """A lake there, named by settings alone."""
    server, ca = private
    bucket = f"bucket-{secrets.token_hex(6)}"
    S3Storage(f"s3://{bucket}", server.options)._to.client.make_bucket(bucket)
    named = {"HOME": str(tmp_path), "LAKE": f"s3://{bucket}/lake", "S3_CA_FILE": str(ca)}
    login = {"S3_ACCESS_KEY": server.options.access_key, "S3_SECRET_KEY": server.options.secret_key}
    with settings_of(S3_ENDPOINT=server.options.endpoint, **named, **login):
        lake = open_lake()
        assert isinstance(lake, S3Storage)
        yield lake


def it_trusts_the_private_ca_that_the_setting_names(private_lake: S3Storage) -> None:
    data = os.urandom(40 << 20)
    private_lake.write("large", io.BytesIO(data))
    assert private_lake.read("large") == data
    assert private_lake.create("a/1", b"1")
    assert not private_lake.create("a/1", b"2")
    table = Table(private_lake, SPEC)
    for number in range(2):
        table.commit(PARTITION, rows(10 + number), {"n": number})
    assert table.read().num_rows == 11
    assert table.last_commit(PARTITION) == {"n": 1}


def it_says_which_setting_names_the_ca(private_lake: S3Storage, tmp_path: Path) -> None:
    others = private_ca(tmp_path / "others").ca
    for ca in ("", others.read_text()):
        lake = S3Storage(private_lake.root, replace(private_lake.options, ca=ca))
        for call in (
            lambda: lake.read("x"),  # noqa: B023 - called in this turn
            lambda: lake.write("x", b"1"),  # noqa: B023 - called in this turn
            lambda: lake.create("x", b"1"),  # noqa: B023 - called in this turn
            lambda: Table(lake, SPEC).version(),  # noqa: B023 - called in this turn
            lambda: Table(lake, SPEC).commit(PARTITION, rows(1), {}),  # noqa: B023 - called in this turn
        ):
            with pytest.raises(InvalidRequest, match="Set DARKROOM_S3_CA_FILE to the PEM file of the CA"):
                call()
    for file in ("/nowhere/ca.pem", __file__):
        with settings_of(S3_CA_FILE=file), pytest.raises(InvalidRequest, match=r"PEM text .* Set DARKROOM_S3_CA_FILE"):
            open_lake()


def it_says_that_http_was_spoken_to_https_and_the_other_way(private_lake: S3Storage, s3_server: StorageOptions) -> None:
    for options, scheme in ((private_lake.options, "http"), (s3_server, "https")):
        address = f"{scheme}://{options.endpoint.partition('://')[2]}"
        lake = S3Storage("s3://some-bucket/lake", replace(options, endpoint=address))
        with pytest.raises(DarkroomError, match="DARKROOM_S3_ENDPOINT") as caught:
            lake.read("x")
        assert address in caught.value.message


SPARK_JOB = """
import sys

import psutil

from darkroom.outcome import run_job
from darkroom.settings import get_settings
from darkroom.storage import open_lake
from darkroom.tables import Table
from spark_apps.session import spark_session
from spark_apps.tables import read_table
from tests.suites.rows import SPEC

def work(request):
    with spark_session("private-ca") as spark:
        secret = get_settings().s3_secret_key.get_secret_value()
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        print("java:", sum("org.apache.spark" in line for line in lines), "keys:", sum(secret in one for one in lines))
        print("rows:", read_table(spark, Table(open_lake(), SPEC)).count(), flush=True)
        spark.read.parquet(open_lake().uri("absent").replace("s3:", "s3a:")).count()

sys.exit(run_job(sys.argv[1:], work))
"""


@pytest.mark.parametrize("submitted", [True, False], ids=["spark-submit", "python"])
def it_lets_spark_read_there_and_a_failed_job_shows_no_key(
    private_lake: S3Storage, tmp_path: Path, submitted: bool
) -> None:
    Table(private_lake, SPEC).commit(PARTITION, rows(37), {})
    (tmp_path / "job.py").write_text(SPARK_JOB)
    command = [sys.executable]
    if submitted:
        command = [str(Path(sys.executable).parent / "spark-submit"), "--master", "local[2]", "--verbose"]
        for name, value in submit_conf(get_settings().lake_uri).items():
            command += ["--conf", f"{name}={value}"]
    command += [str(tmp_path / "job.py"), "--request", "{}", "--outcome", str(tmp_path / "outcome")]
    environment = os.environ | {"SPARK_CONF_DIR": str(ROOT / "infra/local/spark"), "PYTHONPATH": str(ROOT)}
    environment["PYSPARK_PYTHON"] = sys.executable
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said[-3000:]
    assert "rows: 37" in said, said[-3000:]
    assert re.search(r"java: [1-9]\d* keys: 0\n", said), said[-3000:]
    told = (tmp_path / "outcome" / "error.json").read_text()
    assert "PATH_NOT_FOUND" in told
    assert private_lake.options.secret_key not in said + told


def it_shows_no_secret_in_logs_errors_and_texts(private_lake: S3Storage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = private_lake.options
    wrong = replace(options, secret_key=secrets.token_hex(20))
    unknown = replace(options, access_key=f"none{secrets.token_hex(6)}", secret_key=secrets.token_hex(20))
    gone = replace(options, endpoint=f"https://127.0.0.1:{free_port()}", secret_key=secrets.token_hex(20))
    told: list[str] = []
    for login in (options, wrong, unknown, gone):
        lake = S3Storage(private_lake.root, login)
        table = Table(lake, SPEC)
        for call in (
            lambda: lake.write("x", b"1"),  # noqa: B023 - called in this turn
            lambda: lake.read("x"),  # noqa: B023 - called in this turn
            lambda: lake.create("y", b"1"),  # noqa: B023 - called in this turn
            lambda: table.commit(PARTITION, rows(3), {"a": 1}),  # noqa: B023 - called in this turn
            lambda: table.read(),  # noqa: B023 - called in this turn
        ):
            try:
                call()
                assert login is options
            except DarkroomError as error:
                assert login is not options
                chain: BaseException | None = error
                while chain is not None:
                    told += [str(chain), repr(chain), json.dumps(getattr(chain, "as_dict", dict)())]
                    chain = chain.__cause__ or chain.__context__
        told += [repr(lake), repr(table), repr(login), str(login)]
    settings = get_settings()
    told += [repr(settings), str(settings), settings.model_dump_json(), repr(Settings()), repr(PrepareRequest())]
    told += [json.dumps(entry) for entry in Table(private_lake, SPEC).history()]
    told += [record.getMessage() for record in caplog.records]
    told += [blob.path for blob in private_lake.list()]
    text = "\n".join(told)
    assert len(told) > 50
    for login in (options, wrong, unknown, gone):
        assert login.secret_key not in text
    for blob in private_lake.list():
        assert options.secret_key.encode() not in private_lake.read(blob.path)
