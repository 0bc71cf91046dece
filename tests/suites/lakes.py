"""A small whole lake, and how the ``darkroom`` command is run on one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime

from darkroom import champions
from darkroom.sources import PhantomSource, fetch
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import champion_of
from tests.suites.rows import OTHER, PARTITION, SPEC, rows

IMAGES = 12


def fill(lake: Storage) -> None:
    """Raw images, a table with versions and a checkpoint, a package with a champion, a report, an inbox."""
    fetch(PhantomSource(images=IMAGES, size_range=(400, 420)), "phantom", lake)
    table = Table(lake, SPEC)
    for number in range(3):
        table.commit(PARTITION, rows(5 + number), {"n": number})
    table.commit({"dt": "a'b/c %", "feed": "12e456"}, rows(4), {})
    for number in range(18):
        table.commit(OTHER, [], {"n": number})
    champions.append(lake, "lamps", champion_of(lake), now=datetime(2026, 1, 1, tzinfo=UTC))
    lake.write("reports/ü/a b.html", b"<html></html>")
    lake.write("inbox/phantom/dt=2026-01-01/large.bin", b"large" * 2_000_000)


def digests(lake: Storage) -> dict[str, str]:
    """SHA-256 of every file."""
    return {blob.path: hashlib.sha256(lake.read(blob.path)).hexdigest() for blob in lake.list()}


def darkroom(*arguments: str, code: int = 0, **environment: str) -> str:
    """What the command prints on both streams. Fails when it ends with another exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "darkroom.cli", *arguments],
        env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
