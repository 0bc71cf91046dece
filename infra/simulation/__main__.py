"""``make simulate DAYS=90``: the days but the last seven with a simulated clock, those with a real Airflow."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.local.environment import ROOT
from infra.simulation.home import local_of, log_to, settle

WEEK = 7  # days that a real Airflow plays, where there are more than these
LEAST, MOST = 35, 366  # of more than a week: in fewer days the events would run into each other
SEED = 7


def main() -> int:
    asked = os.environ.get("DAYS") or "90"
    if not asked.isdecimal() or not (int(asked) == WEEK or LEAST <= int(asked) <= MOST):
        said = f"darkroom: DAYS={asked} cannot be played. Expected {WEEK}, or a number from {LEAST} to {MOST}."
        print(said, file=sys.stderr)
        return 1
    home = Path(os.environ.get("DARKROOM_HOME") or ROOT / ".darkroom").absolute() / "simulation"
    shutil.rmtree(home, ignore_errors=True)
    return simulate(home, int(asked))


def simulate(home: Path, days: int) -> int:
    """Plays it in ``home``, which is made; prints the journal, checks the invariants and draws the timeline."""
    local = local_of(home)
    settle(local)
    # Only now, since settings are read when these are imported.
    from darkroom.storage import open_lake
    from infra.simulation.hospital import DATASET, FEED, Hospital
    from infra.simulation.invariants import broken_invariants
    from infra.simulation.story import Story, WentWrong
    from infra.simulation.timeline import draw_timeline
    from infra.simulation.week import play_week
    from spark_apps.session import spark_session
    from training.tracking import open_client

    began = time.monotonic()
    log_to(home / "simulation.log")
    open_client().search_experiments()  # makes MLflow's database, as its server does when it starts
    lake = open_lake()
    first = datetime.now(UTC).date() - timedelta(days=days)
    story = Story(lake, Hospital(lake, home / "archive", SEED), first, SEED, print)
    try:
        with spark_session("darkroom-simulation"):
            story.play(days - WEEK if days > WEEK else days)
        if days > WEEK:
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


if __name__ == "__main__":
    sys.exit(main())
