"""The folder, settings and log of a simulation."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

from infra.local.environment import ROOT, Local, service_environment

# Wide margins: with so few test images, a small loss cannot be excluded.
_POLICY = "approval: required\napproval_hours: {hours}\nmargin: 0.2\nslice_margin: 0.25\n"


def local_of(home: Path) -> Local:
    """The services of a simulation in that folder, on ports that are free."""
    return Local(home, _free_port(), _free_port(), str(home / "lake"))


def settle(local: Local) -> None:
    """Gives this process and its children the settings of local services, but MLflow's database itself."""
    store = local.home / "mlflow"
    store.mkdir(parents=True)
    write_policy(local, 72)
    os.environ.update(service_environment(local))
    os.environ.update(
        {
            "DARKROOM_GATE_POLICY": str(local.home / "gate.yaml"),
            "DARKROOM_MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
        }
    )
    os.chdir(store)  # where MLflow puts its files when no server does


def write_policy(local: Local, hours: float) -> None:
    """The gate's limits, with a person's approval that is waited for so long."""
    (local.home / "gate.yaml").write_text(_POLICY.format(hours=hours))


def log_to(path: Path) -> None:
    """What tasks, Spark and libraries log goes to a file; the screen is the journal's."""
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", force=True)
    with path.open("ab") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
