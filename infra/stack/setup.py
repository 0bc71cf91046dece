"""What the programs find when they start: configuration, databases, a bucket. Each step is repeatable."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.local.environment import ROOT, credentials
from infra.local.services import CannotRun, run_once
from infra.stack.environment import BUCKET, Stack, airflow_environment, write_private
from infra.stack.machine import postgres_bin, postgres_user
from infra.stack.shipping import WORKER_PYTHON, shipped

DATABASES = {"airflow": "airflow", "mlflow": "mlflow", "mlflow_accounts": "mlflow"}  # name -> owner


def write_configuration(stack: Stack) -> None:
    """Folders, and the files that hold secrets: mode 0600."""
    for folder in ("logs", "airflow", "run", "s3/root", "s3/versions", "spark/work"):
        (stack.home / folder).mkdir(parents=True, exist_ok=True)
    ini = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": stack.database("mlflow_accounts"),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "grant_default_workspace_access": "false",
    }
    lines = ["[mlflow]", *(f"{name} = {value}" for name, value in ini.items()), ""]
    write_private(stack.home / "mlflow" / "auth.ini", "\n".join(lines))
    write_private(stack.home / "spark" / "cluster" / "spark-defaults.conf", _properties(cluster_conf(stack)))
    logging = (ROOT / "infra" / "local" / "spark" / "log4j2.properties").read_text()
    laptop = (ROOT / "infra" / "local" / "spark" / "spark-defaults.conf").read_text()
    write_private(stack.home / "spark" / "driver" / "spark-defaults.conf", laptop + _properties(driver_conf(stack)))
    write_private(stack.home / "spark" / "driver" / "log4j2.properties", logging)


def cluster_conf(stack: Stack) -> dict[str, str]:
    """Master and worker: RPC needs a secret, the web pages a signed token, and finished applications are deleted."""
    keys = credentials(stack)
    return {
        "spark.authenticate": "true",
        "spark.authenticate.secret": keys["spark_rpc"],
        "spark.network.crypto.enabled": "true",
        "spark.master.rest.enabled": "false",
        "spark.ui.filters": "org.apache.spark.ui.JWSFilter",
        "spark.org.apache.spark.ui.JWSFilter.param.secretKey": keys["spark_ui"],
        "spark.ui.killEnabled": "false",
        "spark.worker.cleanup.enabled": "true",
        "spark.worker.cleanup.interval": "120",
        "spark.worker.cleanup.appDataTtl": "600",
        "spark.worker.ui.retainedExecutors": "20",
    }


def driver_conf(stack: Stack) -> dict[str, str]:
    """Every job: the cluster's secret, and what its workers lack: an environment, the Python in it, and our code."""
    packed, code = shipped(stack.spark_packages)
    return {
        "spark.authenticate": "true",
        "spark.authenticate.secret": credentials(stack)["spark_rpc"],
        "spark.network.crypto.enabled": "true",
        "spark.files": f"{packed},{WORKER_PYTHON}",
        "spark.archives": f"{code}#code",
        "spark.pyspark.driver.python": str(stack.bin / "python"),
        "spark.pyspark.python": f"./{WORKER_PYTHON.name}",
        "spark.executorEnv.DARKROOM_ENVIRONMENTS": str(stack.home / "spark" / "environments"),
        "spark.executorEnv.PYTHONPATH": "./code",
        "spark.executor.memory": "1g",
        "spark.cores.max": "2",
    }


def _properties(conf: dict[str, str]) -> str:
    return "".join(f"{name} {value}\n" for name, value in conf.items())


def make_cluster_of_databases(stack: Stack) -> None:
    """initdb, when there is no data folder yet. Only passwords log in."""
    data = stack.home / "postgres"
    if (data / "PG_VERSION").exists():
        return
    user = postgres_user()
    data.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(credentials(stack)["postgres"])
        file.flush()
        if user:
            for path in (data, Path(file.name)):
                shutil.chown(path, user.pw_uid, user.pw_gid)
        command = [str(postgres_bin() / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256"]
        command += ["--pwfile", file.name, "-E", "UTF8", "--locale", "C.UTF-8"]
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **who)
    if done.returncode:
        raise CannotRun(f"initdb ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")


def make_databases(stack: Stack) -> None:
    """A login each for Airflow and MLflow, and their databases, which nobody else may enter."""
    import psycopg2
    from psycopg2 import sql

    keys = credentials(stack)
    connection = psycopg2.connect(
        host="127.0.0.1", port=stack.ports["postgres"], user="postgres", password=keys["postgres"], dbname="postgres"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select rolname from pg_roles union all select datname from pg_database")
        there = [row[0] for row in cursor.fetchall()]
        for owner in sorted(set(DATABASES.values())):
            verb = "alter" if owner in there else "create"
            statement = sql.SQL(f"{verb} role {{}} login password {{}}")
            cursor.execute(statement.format(sql.Identifier(owner), sql.Literal(keys[f"{owner}_db"])))
        cursor.execute("select datname from pg_database")
        databases = {row[0] for row in cursor.fetchall()}
        for name, owner in DATABASES.items():
            if name not in databases:
                cursor.execute(sql.SQL("create database {} owner {}").format(*map(sql.Identifier, (name, owner))))
                cursor.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
    connection.close()


def make_bucket(stack: Stack) -> None:
    from minio import Minio

    keys = credentials(stack)
    address = stack.url("s3").removeprefix("http://")
    client = Minio(address, keys["s3_access_key"], keys["s3_secret_key"], secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)


def migrate_airflow(stack: Stack) -> None:
    """Brings Airflow's and FAB's tables up to date."""
    run_once(stack, "airflow-migrate", [str(stack.bin / "airflow"), "db", "migrate"], airflow_environment(stack))
