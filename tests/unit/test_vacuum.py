"""The vacuum: everything that is old and that nothing current names goes, and nothing else, wherever it is killed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.contract import (
    examples_table,
    features_table,
    images_table,
    learner_state,
    predictions_table,
    splits_table,
)
from darkroom.kept import what_is_kept
from darkroom.lake_check import check_lake
from darkroom.storage import FolderStorage
from darkroom.tables import Table
from darkroom.vacuum import vacuum_lake
from tests.packages import TRANSFORM
from tests.suites.lakes import darkroom, digests
from tests.suites.old_lake import GONE, NOW, OTHER, fill_with_old

pytestmark = pytest.mark.unit

LATER = NOW + timedelta(days=400)


@pytest.fixture
def lake(tmp_path: Path) -> FolderStorage:
    lake = FolderStorage(tmp_path / "lake")
    fill_with_old(lake)
    return lake


def check(lake: FolderStorage) -> list[str]:
    return [str(one) for one in check_lake(lake, lambda *_: None).findings]


def vacuum(lake: Any, before: datetime, *, dry_run: bool = False) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in vacuum_lake(lake, before, dry_run=dry_run)]


def rows_of(lake: FolderStorage) -> dict[str, int]:
    specs = (images_table("lamps"), splits_table("lamps"), examples_table("lamps"), predictions_table("lamps"))
    return {spec.path: Table(lake, spec).read().num_rows for spec in specs}


def it_removes_what_is_old_and_named_by_nothing_current(lake: FolderStorage) -> None:
    before = rows_of(lake)
    done = vacuum(lake, LATER)
    assert Counter(kind for kind, _ in done) == GONE
    assert {path for kind, path in done if kind == "dataset report"} == {
        f"reports/datasets/lamps/{name}/eda/index.html" for name in ("s0", "v0")
    }
    assert check(lake) == []
    after = rows_of(lake)
    examples = "tables/lamps/examples"
    assert after == before | {examples: before[examples] // 2}
    assert lake.stat(champions.current(lake, "lamps").package) is not None
    assert lake.stat("inbox/lamps/dt=2026-01-01/a.png") is not None
    assert lake.stat("reports/training/lamps/run-1/gate.html") is not None
    for name in ("kept", "refused", "gate"):  # what would be trained and gated again without them
        assert lake.stat(f"reports/training/lamps/receipts/{name}.json") is not None
    assert lake.stat("reports/training/lamps/run-4/gate.html") is not None
    assert what_is_kept(lake, LATER).runs == {"run-1", "run-3", "run-4"}
    # The files of examples that nothing names any more go a retention later.
    assert [kind for kind, _ in vacuum(lake, LATER + timedelta(days=1))] == ["table file"]
    assert vacuum(lake, LATER) == []


def it_treats_features_like_the_examples_that_they_were_made_from(lake: FolderStorage) -> None:
    table = Table(lake, features_table("lamps"))
    images = Table(lake, images_table("lamps")).read()["content_id"].to_pylist()
    strangers = ["f" * 64]
    for transform, feature, ids in (
        (TRANSFORM, "hog", images), (TRANSFORM, "lbp", images), (TRANSFORM, "old", strangers), (OTHER, "hog", images)
    ):  # fmt: skip
        partition = {"transform_hash": transform.hash, "feature_hash": feature}
        rows = [{"content_id": one, "values": b"1234", **partition} for one in ids]
        table.commit(partition, pa.Table.from_pylist(rows, schema=table.spec.schema), {})
    vacuumed = Counter(kind for kind, _ in vacuum(lake, LATER))
    assert vacuumed == GONE | {"features": 2}
    left = {(row["transform_hash"], row["feature_hash"]) for row in table.read().to_pylist()}
    assert left == {(TRANSFORM.hash, "hog"), (TRANSFORM.hash, "lbp")}
    assert check(lake) == []


def it_lets_the_state_of_a_learner_go_with_its_package(lake: FolderStorage) -> None:
    packages = [blob.path for blob in lake.list("packages/lamps")]
    for package in packages:
        lake.write(learner_state(package), b"state")
    done = vacuum(lake, LATER)
    gone = [path for kind, path in done if kind == "package"]
    assert 0 < len(gone) < len(packages)
    assert sorted(path for kind, path in done if kind == "state") == sorted(map(learner_state, gone))


def it_removes_nothing_younger_than_the_retention(lake: FolderStorage) -> None:
    before = digests(lake)
    assert vacuum(lake, NOW - timedelta(days=1)) == []
    assert digests(lake) == before


def it_tells_the_same_in_a_dry_run_and_changes_nothing(lake: FolderStorage) -> None:
    before = digests(lake)
    told = vacuum(lake, LATER, dry_run=True)
    assert digests(lake) == before
    done = vacuum(lake, LATER)
    assert Counter(told) == Counter(done)


def it_is_whole_wherever_it_is_killed(lake: FolderStorage, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(lake.root, whole)
    vacuum(lake, LATER)
    expected = rows_of(lake)
    for number in range(30):
        killed = Killed(tmp_path / f"killed{number}", number)
        shutil.copytree(whole, killed.root)
        try:
            vacuum(killed, LATER)
        except Killed.End:
            assert not check_lake(killed, lambda *_: None).damaged, number
            killed.left = 10**9
            vacuum(killed, LATER)
        else:
            break
        assert (rows_of(killed), check(killed)) == (expected, [])
    assert number > 10


class Killed(FolderStorage):
    """A folder whose process ends at the n-th removal."""

    class End(BaseException):
        pass

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self.left = left

    def delete(self, path: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed.End
        super().delete(path)


def it_removes_killed_writes_and_orphans_of_tables(lake: FolderStorage) -> None:
    table = Table(lake, images_table("lamps"))
    orphan = f"{table.spec.path}/version=v1/" + "a" * 32 + ".parquet"
    lake.write(orphan, b"a killed writer left it")
    half = Path(lake.root) / "raw" / ".tmp-half"
    half.write_bytes(b"half")
    vacuum(lake, NOW - timedelta(hours=1))
    assert (lake.stat(orphan) is not None, half.exists()) == (True, True)
    done = vacuum(lake, LATER)
    assert ("table file", orphan) in done
    assert ("unfinished write", "raw/.tmp-half") in done
    assert not half.exists()


def it_gives_up_before_the_first_removal_where_the_champions_cannot_be_read(lake: FolderStorage) -> None:
    lake.write("champions/lamps/2.json", b"{")
    before = digests(lake)
    with pytest.raises(Exception, match="champion history entry"):
        vacuum(lake, LATER)
    assert digests(lake) == before


def it_runs_as_a_command(lake: FolderStorage) -> None:
    old = NOW.timestamp() - 100 * 86_400
    for folder, _, names in os.walk(lake.root):
        for name in names:
            os.utime(Path(folder) / name, (old, old))
    said = darkroom("vacuum", "--part", "lake", "--days", "90", "--dry-run", "--lake", lake.root)
    assert "would remove package: packages/lamps/" in said
    assert "would be removed, from before" in said
    said = darkroom("vacuum", "--part", "lake", DARKROOM_LAKE=lake.root)
    assert "removed outcome: jobs/driver/result.json (2 bytes)" in said
    assert check(lake) == []
    assert "Airflow: left out" in darkroom("vacuum", "--part", "airflow", DARKROOM_LAKE=lake.root)
    assert "usage: darkroom" in darkroom("vacuum", "--days", "0", code=2)
