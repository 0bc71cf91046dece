"""Makes the secrets of the container stack, once: ``python -m infra.container_secrets``.

One file a secret in ``.darkroom/containers/secrets`` (folder 0700, files 0600, no line feed at the end), for Compose to
mount and for ``kubectl create secret generic darkroom --from-file=...``. Beside them: the folders that the containers
keep their data in, ``engine.env`` for the engine, and ``client.env``, by which ``make demo PROFILE=compose`` reaches
the published ports. Secrets that are there stay as they are. Standard library only, so that any Python will do.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".darkroom" / "containers"
DATA = ("postgres", "s3", "s3-accounts", "airflow-logs")
CONTAINER_UID = 50000

NAMES = (
    "postgres-password",
    "airflow-database-password",
    "airflow-fernet-key",
    "airflow-jwt-secret",
    "airflow-api-secret",
    "airflow-admin-password",
    "mlflow-database-password",
    "mlflow-admin-password",
    "mlflow-service-password",
    "mlflow-session-secret",
    "s3-root-access-key",
    "s3-root-secret-key",
    "lake-access-key",
    "lake-secret-key",
    "mlflow-access-key",
    "mlflow-secret-key",
    "spark-secret",
)


def make(home: Path, *, airflow_port: int = 8080, mlflow_port: int = 5500, s3_port: int = 9000) -> dict[str, str]:
    """Makes what is missing below ``home`` and returns every secret by its name."""
    owner = (os.getuid(), os.getgid()) if os.getuid() else (CONTAINER_UID, 0)  # containers do not run as root
    for folder in (home, home / "secrets", *(home / "data" / name for name in DATA)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        os.chown(folder, *owner)
    kept = {name: _kept(home / "secrets" / name, _made(name), owner) for name in NAMES}
    engine = {
        "CONTAINER_UID": str(owner[0]),
        "CONTAINER_GID": str(owner[1]),
        "CONTAINER_HOME": str(home),
        "AIRFLOW_PORT": str(airflow_port),
        "MLFLOW_PORT": str(mlflow_port),
        "S3_PORT": str(s3_port),
    }
    client = {
        "DARKROOM_HOME": str(home),
        "AIRFLOW_PORT": str(airflow_port),
        "MLFLOW_PORT": str(mlflow_port),
        "DARKROOM_AIRFLOW_URL": f"http://127.0.0.1:{airflow_port}",
        "DARKROOM_MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow_port}",
        "MLFLOW_TRACKING_USERNAME": "darkroom",
        "MLFLOW_TRACKING_PASSWORD": kept["mlflow-service-password"],
        "DARKROOM_LAKE": "s3://lake/darkroom",
        "DARKROOM_S3_ENDPOINT": f"http://127.0.0.1:{s3_port}",
        "DARKROOM_S3_ACCESS_KEY": kept["lake-access-key"],
        "DARKROOM_S3_SECRET_KEY": kept["lake-secret-key"],
    }
    _write(home / "engine.env", _lines(engine))
    _write(home / "client.env", _lines(client))
    _write(home / "credentials.json", json.dumps({"user": "admin", "password": kept["airflow-admin-password"]}))
    return kept


def _made(name: str) -> str:
    if name.endswith("fernet-key"):
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return f"{name.split('-', maxsplit=1)[0]}{secrets.token_hex(6)}" if "access" in name else secrets.token_hex(24)


def _kept(path: Path, made: str, owner: tuple[int, int]) -> str:
    if not path.exists():
        _write(path, made)
        os.chown(path, *owner)
    return path.read_text()


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _lines(variables: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def main() -> int:
    ports = {name: int(os.environ[variable]) for name, variable in _PORTS.items() if os.environ.get(variable)}
    make(HOME, **ports)
    print(f"darkroom: secrets, data folders and settings of the containers are in {os.path.relpath(HOME)}")
    return 0


_PORTS = {"airflow_port": "AIRFLOW_PORT", "mlflow_port": "MLFLOW_PORT", "s3_port": "S3_PORT"}

if __name__ == "__main__":
    sys.exit(main())
