"""``make simulate DAYS=90``: the days but the last seven with a simulated clock, those with a real Airflow."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.local.environment import ROOT, Local, service_environment

LEAST, MOST = 7, 366
WEEK = 7  # days that a real Airflow plays, where there are more than these
SEED = 7
POLICY = (
    "approval: required\napproval_hours: {hours}\nmargin: 0.1  # few test images: a small loss cannot be excluded\n"
)


def main() -> int:
    days = int(os.environ.get("DAYS") or 90)
    if not LEAST <= days <= MOST:
        print(f"darkroom: DAYS={days} cannot be played. Expected {LEAST} to {MOST}.", file=sys.stderr)
        return 1
    home = Path(os.environ.get("DARKROOM_HOME") or ROOT / ".darkroom").absolute() / "simulation"
    shutil.rmtree(home, ignore_errors=True)
    return simulate(home, days, real_week=days > WEEK)


def simulate(home: Path, days: int, *, real_week: bool) -> int:
    """Plays it in ``home``, which is made; prints the journal, checks the invariants and draws the timeline."""
    local = Local(home, _free_port(), _free_port(), str(home / "lake"))
    _settle(local)
    # Only now, since settings are read when these are imported.
    from darkroom.storage import open_lake
    from infra.simulation.hospital import DATASET, FEED, Hospital
    from infra.simulation.invariants import broken_invariants
    from infra.simulation.story import Story, WentWrong
    from infra.simulation.timeline import draw_timeline
    from spark_apps.session import spark_session
    from training.tracking import open_client

    began = time.monotonic()
    _log_to(home / "simulation.log")
    open_client().search_experiments()  # makes MLflow's database, as its server does when it starts
    lake = open_lake()
    simulated = days - WEEK if real_week else days
    first = datetime.now(UTC).date() - timedelta(days=days)
    story = Story(lake, Hospital(lake, home / "archive", SEED), first, SEED, print)
    try:
        with spark_session("darkroom-simulation"):
            story.play(simulated)
        if real_week:
            from infra.simulation.week import play_week

            play_week(local, story)
    except WentWrong as wrong:
        print(f"darkroom: the story went wrong. {wrong}. The log: {home / 'simulation.log'}")
        return 1
    broken = broken_invariants(lake, DATASET, FEED, story.delivered, print)
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    picture = home / "timeline.png"
    draw_timeline(lake, story.journal, story.delivered, picture)
    minutes = (time.monotonic() - began) / 60
    print(f"{days} days in {minutes:.1f} min, {len(broken)} broken invariants. The timeline: {picture}")
    return 1 if broken else 0


def _settle(local: Local) -> None:
    """The settings of this process and its children: those of local services, with MLflow's database itself."""
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


def _log_to(path: Path) -> None:
    """What tasks, Spark and libraries log goes to a file; the screen is the journal's."""
    logging.basicConfig(filename=path, level=logging.INFO, force=True)
    with path.open("ab") as stream:
        os.dup2(stream.fileno(), sys.stderr.fileno())


def write_policy(local: Local, hours: float) -> None:
    """The gate's limits, with a person's approval that is waited for so long."""
    (local.home / "gate.yaml").write_text(POLICY.format(hours=hours))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
