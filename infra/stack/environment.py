"""The stack's folders, ports, generated secrets, and the environment of each of its programs."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from darkroom.errors import InvalidRequest
from infra.local.environment import ROOT, Local, credentials, local_from_environment, port_of, service_environment
from infra.stack.shipping import LOCKS

BUCKET = "darkroom"
PORTS = {
    "postgres": 5433,
    "s3": 7070,
    "spark": 7077,
    "spark_ui": 8081,
    "spark_worker": 7078,
    "spark_worker_ui": 8082,
}


@dataclass(frozen=True)
class Stack(Local):
    """What the programs of the stack share. ``ports`` are those of PORTS; Airflow's and MLflow's are Local's."""

    stop_command: ClassVar[str] = "make stack-down"
    own_settings: ClassVar[frozenset[str]] = Local.own_settings | {
        "DARKROOM_S3_ENDPOINT",
        "DARKROOM_S3_ACCESS_KEY",
        "DARKROOM_S3_SECRET_KEY",
    }
    ports: dict[str, int] = dataclasses.field(default_factory=lambda: dict(PORTS))
    spark_packages: str = "spark"  # what the workers are given: one of shipping.LOCKS

    @property
    def variables(self) -> dict[str, str]:
        ports = {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        return super().variables | ports | {"SPARK_PACKAGES": self.spark_packages}

    @property
    def spark_home(self) -> Path:
        """The Spark that pip installed."""
        return self.bin.parent / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "pyspark"

    def new_credentials(self) -> dict[str, str]:
        names = ("postgres", "airflow_db", "mlflow_db", "mlflow_secret", "mlflow_service", "s3_secret_key", "spark_rpc")
        made = {name: secrets.token_hex(20) for name in names}
        made["s3_access_key"] = f"darkroom{secrets.token_hex(6)}"
        made["spark_ui"] = base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()
        made["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        return super().new_credentials() | made

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def database(self, name: str) -> str:
        """The SQLAlchemy address of one of the databases, with its password."""
        login = "airflow" if name == "airflow" else "mlflow"
        password = credentials(self)[f"{login}_db"]
        return f"postgresql+psycopg2://{login}:{password}@127.0.0.1:{self.ports['postgres']}/{name}"


def stack_from_environment() -> Stack:
    """Reads DARKROOM_HOME, AIRFLOW_PORT, MLFLOW_PORT, SPARK_PACKAGES, and <NAME>_PORT for each of PORTS."""
    local = local_from_environment()
    ports = {name: port_of(f"{name.upper()}_PORT", port) for name, port in PORTS.items()}
    packages = os.environ.get("SPARK_PACKAGES") or "spark"
    if packages not in LOCKS:
        raise InvalidRequest(f"SPARK_PACKAGES={packages} is unknown. Expected one of: {', '.join(LOCKS)}.")
    return Stack(local.home / "stack", local.airflow_port, local.mlflow_port, f"s3://{BUCKET}/lake", ports, packages)


def lake_settings(stack: Stack) -> dict[str, str]:
    """The settings that make this process, or another, use the stack's lake and its MLflow."""
    keys = credentials(stack)
    return {
        "DARKROOM_HOME": str(stack.home),
        "DARKROOM_LAKE": stack.lake,
        "DARKROOM_S3_ENDPOINT": stack.url("s3"),
        "DARKROOM_S3_ACCESS_KEY": keys["s3_access_key"],
        "DARKROOM_S3_SECRET_KEY": keys["s3_secret_key"],
        "MLFLOW_TRACKING_USERNAME": "darkroom",
        "MLFLOW_TRACKING_PASSWORD": keys["mlflow_service"],
    }


def airflow_environment(stack: Stack) -> dict[str, str]:
    """Airflow's processes and their tasks: the laptop's settings, with PostgreSQL, FAB, the cluster and S3."""
    keys = credentials(stack)
    connection = {
        "conn_type": "spark",
        "host": "spark://127.0.0.1",
        "port": stack.ports["spark"],
        "extra": {"deploy-mode": "client"},
    }
    settings = {
        "CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "CORE__FERNET_KEY": keys["fernet"],
        "DATABASE__SQL_ALCHEMY_CONN": stack.database("airflow"),
        "FAB__CONFIG_FILE": str(ROOT / "infra" / "stack" / "fab_config.py"),
        "FAB__COOKIE_SAMESITE": "Strict",
        "FAB__SESSION_LIFETIME_MINUTES": "720",
    }
    ours = {
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(connection),
        "SPARK_CONF_DIR": str(stack.home / "spark" / "driver"),
    }
    own = {f"AIRFLOW__{name}": value for name, value in settings.items()}
    inherited = service_environment(stack)
    for name in list(inherited):
        if name.startswith("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER"):
            del inherited[name]
    return {**inherited, **own, **ours, **lake_settings(stack)}


def mlflow_environment(stack: Stack) -> dict[str, str]:
    """MLflow's server: the only holder of keys to its artifacts."""
    keys = credentials(stack)
    return bare_environment() | {
        "PATH": f"{stack.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": stack.database("mlflow"),
        "MLFLOW_AUTH_CONFIG_PATH": str(stack.home / "mlflow" / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": keys["user"],
        "MLFLOW_AUTH_ADMIN_PASSWORD": keys["password"],
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": keys["mlflow_secret"],
        "MLFLOW_S3_ENDPOINT_URL": stack.url("s3"),
        "AWS_ACCESS_KEY_ID": keys["s3_access_key"],
        "AWS_SECRET_ACCESS_KEY": keys["s3_secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def s3_environment(stack: Stack) -> dict[str, str]:
    keys = credentials(stack)
    return bare_environment() | {
        "ROOT_ACCESS_KEY_ID": keys["s3_access_key"],
        "ROOT_SECRET_ACCESS_KEY": keys["s3_secret_key"],
    }


def spark_environment(stack: Stack) -> dict[str, str]:
    """Spark's master and worker: Java and Spark, and no Python package of ours."""
    return bare_environment() | {
        "SPARK_HOME": str(stack.spark_home),
        "SPARK_CONF_DIR": str(stack.home / "spark" / "cluster"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": "",
    }


def bare_environment() -> dict[str, str]:
    """What a freshly installed machine gives a program: nothing of this checkout's environment."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TZ", "JAVA_HOME", "TMPDIR") if name in os.environ}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **kept}


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
