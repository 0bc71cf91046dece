"""What the past of a table must do on every storage: partitions restored, old versions given up, both at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.lake_check import check_lake
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.tables.retention import restore_partition, results_of, vacuum_table
from tests.suites.rows import OTHER, PARTITION, SPEC, rows

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def ahead(days: float = 1) -> datetime:
    """A moment after everything that a test has written."""
    return datetime.now(UTC) + timedelta(days=days)


def keys(table: Table, partition: dict[str, str] = PARTITION) -> list[str]:
    return [key[:1] for key in table.read(partition)["key"].to_pylist()]


def findings(storage: Storage) -> list[str]:
    return [str(finding) for finding in check_lake(storage, lambda *_: None).findings]


class RetentionSuite:
    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def table(self, storage: Storage) -> Table:
        """Three results of one partition (3 rows a, 2 rows b, none), and another partition in between."""
        table = Table(storage, SPEC)
        table.commit(PARTITION, rows(3, "a"), {"n": 1})
        table.commit(PARTITION, rows(2, "b"), {"n": 2})
        table.commit(OTHER, rows(4, "o"), {"n": "other"})
        table.commit(PARTITION, [], {"n": 3})
        return table

    def it_tells_every_result_of_a_partition(self, table: Table) -> None:
        told = [(one.version, one.rows, one.metadata, one.there) for one in results_of(table, PARTITION)]
        assert told == [(3, 0, {"n": 3}, True), (1, 2, {"n": 2}, True), (0, 3, {"n": 1}, True)]
        assert results_of(table, {"dt": "2020-01-01", "feed": "clinic"}) == []

    def it_restores_a_result_by_its_old_files_and_leaves_other_partitions(self, table: Table, storage: Storage) -> None:
        before, old = table.files(OTHER), table.files(PARTITION, version=1)
        made = restore_partition(table, PARTITION, None, now=NOW)
        restored = {"version": 1, "replaced": 3, "at": NOW.isoformat()}
        assert (made.rows, made.metadata) == (2, {"n": 2, "restored": restored})
        assert (keys(table), table.files(PARTITION), table.files(OTHER)) == (["b", "b"], old, before)
        assert table.last_commit(PARTITION) == {"n": 2, "restored": restored}
        assert restore_partition(table, PARTITION, 0, now=NOW).rows == 3
        assert restore_partition(table, PARTITION, 3, now=NOW).rows == 0
        assert restore_partition(table, PARTITION, None, now=NOW).rows == 3
        assert findings(storage) == []
        table.commit(PARTITION, rows(1, "c"), {"n": 4})
        assert (keys(table), keys(table, OTHER)) == (["c"], ["o"] * 4)

    def it_refuses_what_cannot_be_restored(self, table: Table, storage: Storage) -> None:
        with pytest.raises(InvalidRequest, match=r"no result of version 2\. Expected one of: 3, 1, 0"):
            restore_partition(table, PARTITION, 2, now=NOW)
        with pytest.raises(InvalidRequest, match="has the files of version 3 already"):
            restore_partition(table, PARTITION, 3, now=NOW)
        with pytest.raises(InvalidRequest, match="no earlier result"):
            restore_partition(table, OTHER, None, now=NOW)
        (address,) = table.files(PARTITION, version=1)
        storage.delete(address.removeprefix(f"{storage.root}/"))
        with pytest.raises(InvalidRequest, match="are gone"):
            restore_partition(table, PARTITION, 1, now=NOW)
        assert table.version() == 3

    def it_removes_old_versions_and_orphans_and_keeps_the_newest(self, table: Table, storage: Storage) -> None:
        orphan = f"{SPEC.path}/{table.write_file(PARTITION, rows(5)).path}"
        old = sorted([*table.files(PARTITION, version=0), *table.files(PARTITION, version=1), storage.uri(orphan)])
        dry = vacuum_table(table, ahead(), dry_run=True)
        assert (sorted(storage.uri(blob.path) for blob in dry), table.version()) == (old, 3)
        assert vacuum_table(table, ahead(), dry_run=False) == dry
        assert all(storage.stat(blob.path) is None for blob in dry)
        assert (table.read().num_rows, keys(table, OTHER), findings(storage)) == (4, ["o"] * 4, [])
        assert vacuum_table(table, ahead(), dry_run=False) == []
        assert [one.there for one in results_of(table, PARTITION)] == [True, False, False]
        with pytest.raises(InvalidRequest, match="older than the retention"):
            restore_partition(table, PARTITION, 0, now=NOW)
        table.commit(PARTITION, rows(2, "z"), {"n": 5})
        assert (keys(table), table.last_commit(OTHER)) == (["z", "z"], {"n": "other"})

    def it_keeps_every_version_of_the_retention(self, table: Table, storage: Storage) -> None:
        assert vacuum_table(table, ahead(-1), dry_run=False) == []
        between = results_of(table, PARTITION)[1].at  # version 1 is current at this moment
        (first,) = table.files(PARTITION, version=0)
        vacuum_table(table, between, dry_run=False)
        assert storage.stat(first.removeprefix(f"{storage.root}/")) is None
        assert restore_partition(table, PARTITION, 1, now=NOW).rows == 2
        assert findings(storage) == []

    def it_still_misses_what_is_lost(self, table: Table, storage: Storage) -> None:
        vacuum_table(table, ahead(), dry_run=False)
        table.commit(PARTITION, rows(2, "d"), {})
        table.commit(PARTITION, rows(2, "e"), {})
        lost = table.files(PARTITION, version=5)[0].removeprefix(f"{storage.root}/")
        storage.delete(lost)
        assert any(lost in finding and finding.startswith("missing") for finding in findings(storage))

    def it_does_not_restore_what_a_vacuum_removes_meanwhile(self, table: Table, storage: Storage) -> None:
        meddling = Meddling(storage, "stat", lambda: vacuum_table(table, ahead(), dry_run=False))
        with pytest.raises((CommitConflict, InvalidRequest)):
            restore_partition(Table(cast(Storage, meddling), SPEC), PARTITION, 1, now=NOW)
        assert meddling.done
        assert (keys(table), findings(storage)) == ([], [])

    def it_does_not_remove_what_is_restored_meanwhile(self, table: Table, storage: Storage) -> None:
        meddling = Meddling(storage, "list", lambda: restore_partition(table, PARTITION, 1, now=NOW))
        vacuum_table(Table(cast(Storage, meddling), SPEC), ahead(), dry_run=False)
        assert meddling.done
        assert (keys(table), findings(storage)) == (["b", "b"], [])
        assert len(results_of(table, PARTITION)) == 4


class Meddling:
    """A storage on which something else happens just before the first call of one method has its answer."""

    def __init__(self, storage: Storage, method: str, act: Callable[[], object]) -> None:
        self._storage, self._method, self._act = storage, method, act
        self.done = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._storage, name)
        if name != self._method or self.done:
            return real

        def answer(*arguments: Any, **options: Any) -> Any:
            found = real(*arguments, **options)
            found = list(found) if name == "list" else found
            if not self.done:
                self.done = True
                self._act()
            return found

        return answer
