"""The environment of the local services: folders, ports, generated credentials and configuration."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from darkroom.errors import InvalidRequest
from darkroom.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

# Libraries that nearly every task imports: loaded once, in the process that LocalExecutor's workers are forked from.
# None of ours is among them: a task runs the code that is there when it starts.
PRELOADED = (
    "airflow",
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.apache.spark.operators.spark_submit",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.hitl",
    "airflow.providers.standard.operators.trigger_dagrun",
    "minio",
    "mlflow",
    "pyarrow.parquet",
    "pydantic_settings",
)


@dataclass(frozen=True)
class Local:
    """What the local services share. ``home`` holds everything that they make."""

    home: Path
    airflow_port: int
    mlflow_port: int
    lake: str
    stop_command: ClassVar[str] = "make down"
    # These the services take from here, whatever the environment says.
    own_settings: ClassVar[frozenset[str]] = frozenset(
        {"DARKROOM_HOME", "DARKROOM_LAKE", "DARKROOM_MLFLOW_TRACKING_URI", "DARKROOM_AIRFLOW_URL"}
    )

    @property
    def variables(self) -> dict[str, str]:
        """What beside the settings decides how the services are started, by the variables that say so."""
        return {"AIRFLOW_PORT": str(self.airflow_port), "MLFLOW_PORT": str(self.mlflow_port)}

    @property
    def airflow_home(self) -> Path:
        return self.home / "airflow"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def bin(self) -> Path:
        return Path(sys.executable).parent

    def new_credentials(self) -> dict[str, str]:
        """A fresh login and keys."""
        return {
            "user": "admin",
            "password": secrets.token_urlsafe(9),
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret": secrets.token_urlsafe(48),
        }


def local_from_environment() -> Local:
    """Reads AIRFLOW_PORT, MLFLOW_PORT and the settings. Raises InvalidRequest, in one sentence, for what cannot be."""
    try:
        settings = Settings(home=Path(os.environ.get("DARKROOM_HOME") or ROOT / ".darkroom"))
        lake = settings.lake_uri
    except ValidationError as error:
        raise InvalidRequest(" ".join(_sentence(problem) for problem in error.errors())) from None
    except RuntimeError as error:  # of ~nobody in DARKROOM_HOME, _LAKE or _SAMPLES
        raise InvalidRequest(
            f"A folder among DARKROOM_HOME, DARKROOM_LAKE (or LAKE) and DARKROOM_SAMPLES starts with the ~ of a user "
            f"that this machine does not have ({error}) Write the path in full."
        ) from None
    return Local(settings.home, port_of("AIRFLOW_PORT", 8080), port_of("MLFLOW_PORT", 5500), lake)


def _sentence(problem: Any) -> str:
    name = f"DARKROOM_{'_'.join(str(part) for part in problem['loc']).upper()}"
    return f"{name}={problem['input']} cannot be used: {problem['msg']}. Correct it, or unset it for its default."


def port_of(variable: str, default: int) -> int:
    """The port that an environment variable names, or the default. Raises InvalidRequest when it names none."""
    given = os.environ.get(variable) or str(default)
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 1 <= int(given) <= 65535):
        raise InvalidRequest(f"{variable}={given} is no port. Expected a number from 1 to 65535: {variable}={default}")
    return int(given)


def credentials(local: Local) -> dict[str, str]:
    """The generated login and keys, made once and kept in a file that only this user can read."""
    path = local.home / "credentials.json"
    if not path.exists():
        local.home.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(local.new_credentials(), file)
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def write_airflow_login(local: Local) -> None:
    """Gives Airflow's simple auth manager the generated password."""
    login = credentials(local)
    local.airflow_home.mkdir(parents=True, exist_ok=True)
    path = local.airflow_home / "passwords.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({login["user"]: login["password"]}, file)


def service_environment(local: Local) -> dict[str, str]:
    """Environment variables of every local service and of what they start. No telemetry of any library."""
    keys = credentials(local)
    ours = {
        "PATH": f"{local.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_CONF_DIR": str(ROOT / "infra" / "local" / "spark"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "-1"),
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "MLFLOW_TRACKING_URI": local.mlflow_url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "DARKROOM_HOME": str(local.home),
        "DARKROOM_LAKE": local.lake,
        "DARKROOM_MLFLOW_TRACKING_URI": local.mlflow_url,
        "DARKROOM_AIRFLOW_URL": local.airflow_url,
        "AIRFLOW_HOME": str(local.airflow_home),
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client"}}
        ),
    }
    airflow = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "false",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{keys['user']}:ADMIN",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(local.airflow_home / "passwords.json"),
        "CORE__EXECUTION_API_SERVER_URL": f"{local.airflow_url}/execution/",
        "API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "API__SECRET_KEY": keys["api_secret"],
        "API__HOST": "127.0.0.1",
        "API__PORT": str(local.airflow_port),
        "API__BASE_URL": local.airflow_url,
        "API__WORKERS": "1",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{local.airflow_home / 'airflow.db'}?timeout=60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "LOGGING__BASE_LOG_FOLDER": str(local.logs / "tasks"),
        "SCHEDULER__MP_START_METHOD": "forkserver",
        "SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(PRELOADED),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "USAGE_DATA_COLLECTION__ENABLED": "false",
    }
    settings = {f"AIRFLOW__{name}": value for name, value in airflow.items()}
    return {**os.environ, **settings, **ours}
