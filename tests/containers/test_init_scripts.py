"""What the init services run, against a real S3 server and a real PostgreSQL; the demo's way to the containers."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from minio import Minio
from minio.error import S3Error

from infra import compose, container_secrets
from infra.binaries import VERSITYGW
from infra.local.services import CannotRun
from tests.integration.servers import free_port, go_binary, left_out, versitygw

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "infra" / "images"


def it_makes_two_buckets_that_do_not_open_to_each_other(tmp_path):
    made = container_secrets.make(tmp_path / "home")
    with versitygw(tmp_path / "s3", accounts=True) as options:
        files = tmp_path / "home" / "secrets"
        (files / "s3-root-access-key").write_text(options.access_key)
        (files / "s3-root-secret-key").write_text(options.secret_key)
        environment = {
            "PATH": os.defpath,
            "SECRETS_FOLDER": str(files),
            "ADMIN_ENDPOINT_URL": options.endpoint,
            "VERSITYGW": str(go_binary("versitygw", VERSITYGW)),
        }
        for _ in range(2):  # the second time changes nothing
            done = subprocess.run(
                ["sh", str(IMAGES / "s3_init.sh")], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        address = options.endpoint.removeprefix("http://")
        clients = {
            name: Minio(
                address,
                *(made[f"{name}-{kind}-key"] for kind in ("access", "secret")),
                secure=False,
                region="us-east-1",
            )
            for name in ("lake", "mlflow")
        }
        for name, client in clients.items():
            assert client.fput_object(name, "a", __file__).etag
            other = "mlflow" if name == "lake" else "lake"
            with pytest.raises(S3Error) as refused:
                list(client.list_objects(other))
            assert refused.value.response.status == 403


@contextmanager
def postgres(folder: Path, password: str):
    """A real PostgreSQL of its own; yields its port."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        left_out("The databases' init script", "there is no PostgreSQL. Install the package postgresql.")
    programs_folder, port = programs[-1].parent, free_port()
    owner = {}
    folder.mkdir()
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        for parent in [folder, *folder.parents[:3]]:
            parent.chmod(0o755)
        owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    (folder / "pw").write_text(password)
    (folder / "pw").chmod(0o644)
    data = folder / "data"
    make = [str(programs_folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256"]
    subprocess.run([*make, "--pwfile", str(folder / "pw")], check=True, capture_output=True, cwd="/", **owner)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data}"
    control = [str(programs_folder / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log")]
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)
    try:
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd="/", **owner)


def it_makes_a_database_for_each_service_that_the_other_may_not_enter(tmp_path):
    made = container_secrets.make(tmp_path / "home")
    with postgres(tmp_path / "postgres", made["postgres-password"]) as port:
        reach = {"PATH": os.environ["PATH"], "PGHOST": "127.0.0.1", "PGPORT": str(port)}
        script = subprocess.run(
            ["bash", str(IMAGES / "postgres_init.sh")],
            env={**reach, "PGPASSWORD": made["postgres-password"], "SECRETS_FOLDER": str(tmp_path / "home/secrets")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert script.returncode == 0, script.stderr
        enters = {
            (user, database): subprocess.run(
                ["psql", "-U", user, "-d", database, "-c", "create table probe ()"],
                env={**reach, "PGPASSWORD": made[f"{user}-database-password"]}, capture_output=True, check=False,
            ).returncode == 0
            for user in ("airflow", "mlflow")
            for database in ("airflow", "mlflow", "mlflow_auth")
        }  # fmt: skip
    assert {pair for pair, entered in enters.items() if entered} == {
        ("airflow", "airflow"), ("mlflow", "mlflow"), ("mlflow", "mlflow_auth"),
    }  # fmt: skip


def it_reaches_the_containers_by_settings_alone(tmp_path, monkeypatch):
    made = container_secrets.make(tmp_path, airflow_port=18080, mlflow_port=15500, s3_port=19000)
    for name, value in compose.settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    from darkroom.settings import Settings
    from infra.local.environment import credentials, local_from_environment

    local, chosen = local_from_environment(), Settings()
    assert (local.airflow_url, local.mlflow_url) == ("http://127.0.0.1:18080", "http://127.0.0.1:15500")
    assert credentials(local) == {"user": "admin", "password": made["airflow-admin-password"]}
    assert (chosen.lake_uri, chosen.s3_endpoint) == ("s3://lake/darkroom", "http://127.0.0.1:19000")
    assert chosen.s3_secret_key.get_secret_value() == made["lake-secret-key"]


def it_says_in_one_line_that_the_containers_are_not_up(tmp_path):
    with pytest.raises(CannotRun, match="make containers-up"):
        compose.settings(tmp_path)
    container_secrets.make(tmp_path, airflow_port=free_port(), mlflow_port=free_port())
    code = (
        "import sys, pathlib; from infra import compose, container_secrets as c; c.HOME = pathlib.Path(sys.argv.pop())"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.argv[1:] = ['demo']; sys.exit(compose.main())", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Airflow does not answer" in done.stderr
    assert "make containers-up" in done.stderr
