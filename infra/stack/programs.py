"""Every program of the stack: its command, environment, address and health."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.services import Service
from infra.stack import environment as env
from infra.stack.environment import BUCKET, Stack


@dataclass(frozen=True)
class Program(Service):
    """A service that the supervisor keeps alive. Frozen, and cheap to make: no file is read before it is run."""

    environment: Callable[[Stack], dict[str, str]] = lambda stack: env.bare_environment()
    port_name: str = ""  # the environment variable <NAME>_PORT moves it
    as_postgres: bool = False  # PostgreSQL refuses to run as root


def programs_of(stack: Stack) -> list[Program]:
    """In the order in which they are started."""
    from infra.binaries import VERSITYGW, go_program
    from infra.stack.machine import find_postgres

    airflow, mlflow = str(stack.bin / "airflow"), str(stack.bin / "mlflow")
    spark = [str(stack.spark_home / "bin" / "spark-class")]
    home, ports = stack.home, stack.ports
    return [
        Program(
            "postgres",
            [
                *(str((find_postgres() or Path()) / "postgres"), "-D", str(home / "postgres")),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"port={ports['postgres']}"),
                *("-c", "unix_socket_directories=", "-c", "max_connections=200"),
            ],
            port=ports["postgres"],
            port_name="postgres",
            as_postgres=True,
        ),
        Program(
            "s3",
            [
                *(str(go_program("versitygw", VERSITYGW)), "--port", f"127.0.0.1:{ports['s3']}", "--health", "/health"),
                *("--keep-alive", "--quiet", "posix"),
                *("--versioning-dir", str(home / "s3" / "versions"), str(home / "s3" / "root")),
            ],
            health=f"{stack.url('s3')}/health",
            port=ports["s3"],
            environment=env.s3_environment,
            port_name="s3",
        ),
        Program(
            "mlflow",
            [
                *(mlflow, "server", "--app-name", "basic-auth", "--enable-workspaces", "--workers", "1"),
                *("--host", "127.0.0.1", "--port", str(stack.mlflow_port)),
                *("--artifacts-destination", f"s3://{BUCKET}/mlflow"),
            ],
            health=f"{stack.mlflow_url}/health",
            port=stack.mlflow_port,
            environment=env.mlflow_environment,
            port_name="mlflow",
        ),
        Program(
            "spark-master",
            [
                *(*spark, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"),
                *("--port", str(ports["spark"]), "--webui-port", str(ports["spark_ui"])),
            ],
            port=ports["spark"],
            environment=env.spark_environment,
            port_name="spark",
        ),
        Program(
            "spark-worker",
            [
                *(*spark, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"),
                *("--port", str(ports["spark_worker"]), "--webui-port", str(ports["spark_worker_ui"])),
                *("--cores", "2", "--memory", "2g", "--work-dir", str(home / "spark" / "work")),
                f"spark://127.0.0.1:{ports['spark']}",
            ],
            port=ports["spark_worker"],
            environment=env.spark_environment,
            port_name="spark_worker",
        ),
        Program(
            "airflow-api",
            [airflow, "api-server"],
            health=f"{stack.airflow_url}/api/v2/monitor/health",
            port=stack.airflow_port,
            environment=env.airflow_environment,
            port_name="airflow",
        ),
        Program("airflow-scheduler", [airflow, "scheduler", "--skip-serve-logs"], environment=env.airflow_environment),
        Program("airflow-dags", [airflow, "dag-processor"], environment=env.airflow_environment),
        Program("airflow-triggerer", [airflow, "triggerer", "--skip-serve-logs"], environment=env.airflow_environment),
    ]
