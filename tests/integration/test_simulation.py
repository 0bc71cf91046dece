"""Seven days of the simulated quarter, and whether its invariants notice what is broken on purpose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom import champions, contract
from darkroom.settings import get_settings
from darkroom.storage import FolderStorage
from darkroom.tables import Table
from infra.simulation.hospital import DATASET, FEED
from infra.simulation.invariants import broken_invariants
from training.tracking import open_client

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
TOLD = [
    "The first model: version . passed the gate, and ana approved",
    "nobody answered, and the champion stayed",
    "a backfill caught up with",
    "labelled 24 images that had arrived: version . passed the gate, and ana approved",
    "labels were mixed up: version . was refused",
    "was killed after",
    "Drift: 24 images",
    "Drift asked for a training: thorax was trained at",
    "Reconcile classified",
    "Back to version .; its successor wrote 2 dates",
    "in the mode rescore",
]


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """(its home, what it printed)"""
    home = tmp_path_factory.mktemp("simulated")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "DARKROOM_"))}
    environment |= {"DARKROOM_HOME": str(home), "DAYS": "7", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    command = [sys.executable, "-m", "infra.simulation"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return home / "simulation", done.stdout


@pytest.fixture
def lake(week, monkeypatch):
    """What the week has left, in its place: a copy would have other tags. To be broken, and mended."""
    home, _ = week
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    get_settings.cache_clear()
    yield FolderStorage(home / "lake")
    get_settings.cache_clear()


def dates_of(week):
    return sorted(set(re.findall(r"^(\d{4}-\d\d-\d\d)  ", week[1], re.MULTILINE)))


def broken(lake, dates):
    return broken_invariants(lake, DATASET, FEED, dates, lambda said: None)


@pytest.mark.parametrize("days", ["0", "8", "34", "367", "-7", "ninety"])
def it_refuses_a_number_of_days_that_it_cannot_play(days, tmp_path):
    environment = {**os.environ, "DARKROOM_HOME": str(tmp_path), "DAYS": days, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "infra.simulation"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr == f"darkroom: DAYS={days} cannot be played. Expected 7, or a number from 35 to 366.\n"


def it_plays_seven_days_and_every_invariant_holds(week):
    home, printed = week
    missing = [words for words in TOLD if not re.search(words, printed)]
    assert missing == [], printed
    assert printed.count("Holds: ") == 6
    assert "0 broken invariants" in printed
    assert (home / "timeline.png").read_bytes().startswith(b"\x89PNG")


def it_notices_each_fault(week, lake):
    dates = dates_of(week)
    assert broken(lake, dates) == []
    table = Table(lake, contract.predictions_table(DATASET))
    partition = {"dt": dates[0], "feed": FEED, "origin": contract.BATCH}

    lake.write(f"{contract.inbox(FEED, dates[-1])}/unseen.jpeg", b"x")
    assert f"{dates[-1]} was classified from other images than its inbox holds" in broken(lake, dates)
    lake.delete(f"{contract.inbox(FEED, dates[-1])}/unseen.jpeg")

    never = "2020-01-01"
    assert f"{never} was never classified" in broken(lake, [never])

    file = table.files(partition)[0]
    path = next(blob.path for blob in lake.list(table.spec.path) if file.endswith(blob.path))
    kept = lake.read(path)
    lake.delete(path)
    assert any(sentence.startswith("missing: ") for sentence in broken(lake, dates))
    lake.write(path, kept)

    client = open_client()
    run = client.create_run(client.search_experiments()[0].experiment_id)
    assert f"the MLflow run {run.info.run_id} is RUNNING" in broken(lake, dates)
    client.set_terminated(run.info.run_id)
    told = f"the MLflow run {run.info.run_id} has ended well, and nothing on the lake names it"
    assert broken(lake, dates) == [told]
    client.delete_run(run.info.run_id)

    entry = contract.champion_entry(DATASET, 2)
    content = json.loads(lake.read(entry))
    lake.write(entry, json.dumps({**content, "package_id": "0" * 64}).encode())
    assert "entry 2 was promoted without a yes of the gate" in broken(lake, dates)
    lake.write(entry, json.dumps(content).encode())

    splits = Table(lake, contract.splits_table(DATASET))
    split_id = champions.current(lake, DATASET).split_id
    rows = splits.read({"split_id": split_id}).to_pylist()
    index = next(number for number, row in enumerate(rows) if row["split"] == contract.TEST)
    rows[index]["split"] = contract.TRAIN
    metadata = splits.last_commit({"split_id": split_id})
    splits.commit({"split_id": split_id}, splits.read({"split_id": split_id}).from_pylist(rows), metadata)
    assert any("tested with in one split and trained on in another" in sentence for sentence in broken(lake, dates))
