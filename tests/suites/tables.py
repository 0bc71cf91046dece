"""What tables must do on every storage."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.errors import CommitConflict, InvalidRequest
from darkroom.storage import Storage
from darkroom.tables import AddedFile, Table
from tests.suites.racing import race
from tests.suites.rows import OTHER, PARTITION, SPEC, rows


class TableSuite:
    @pytest.fixture
    def storage(self) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def table(self, storage: Storage) -> Table:
        return Table(storage, SPEC)

    def it_is_empty_before_its_first_commit(self, table: Table) -> None:
        assert table.version() is None
        assert (table.read().schema, table.read().num_rows) == (SPEC.schema, 0)
        assert (table.files(), table.history(), table.last_commit(PARTITION)) == ([], [], None)
        assert table.commit_number(PARTITION) == 0
        with pytest.raises(InvalidRequest, match="does not exist yet"):
            table.read(version=0)

    def it_reads_what_was_committed_sorted_and_with_the_contracts_schema(self, table: Table) -> None:
        assert table.commit(PARTITION, rows(50), {"fingerprint": "f"}) == 0
        found = table.read()
        assert found.schema.equals(SPEC.schema)
        assert found["key"].to_pylist() == sorted(rows(50)["key"].to_pylist())
        assert set(found["dt"].to_pylist()) == {"2026-01-01"}
        expected = rows(50).sort_by("key")
        assert found.select(expected.column_names).to_pylist() == expected.to_pylist()
        assert table.read(columns=["count", "dt"]).column_names == ["count", "dt"]
        assert table.read(columns=["count", "dt"])["count"].to_pylist() == list(range(50))

    def it_keeps_partition_columns_out_of_the_files(self, table: Table, storage: Storage) -> None:
        table.commit(PARTITION, rows(3), {})
        (address,) = table.files()
        assert address.startswith(f"{storage.uri(SPEC.path)}/dt=2026-01-01/feed=clinic/")
        data = storage.read(address.removeprefix(f"{storage.root}/"))
        assert pq.read_schema(io.BytesIO(data)).names == ["key", "pixels", "score", "count", "probabilities", "at"]

    def it_replaces_one_partition_and_keeps_the_rest_and_the_old_version(self, table: Table) -> None:
        first = table.commit(PARTITION, rows(5), {"n": 1})
        table.commit(OTHER, rows(2, "o"), {"n": 2})
        last = table.commit(PARTITION, rows(3, "b"), {"n": 3})
        assert table.read(PARTITION)["key"].to_pylist() == ["b00000", "b00001", "b00002"]
        assert table.read()["key"].to_pylist() == ["b00000", "b00001", "b00002", "o00000", "o00001"]
        assert table.read({"dt": "2026-01-02"}).num_rows == 2
        assert table.read({"feed": "clinic"}).num_rows == 5
        assert table.read({"feed": "none"}).num_rows == 0
        assert table.read(version=first)["key"].to_pylist() == [f"a{number:05}" for number in range(5)]
        assert table.files(version=last) == table.files()
        assert (table.last_commit(PARTITION), table.last_commit(OTHER)) == ({"n": 3}, {"n": 2})

    def it_tells_the_newest_commits_of_many_partitions_at_once(self, table: Table) -> None:
        days = [{"dt": f"2026-01-{day:02}", "feed": "clinic"} for day in range(1, 8)]
        assert table.last_commits(days) == [None] * 7
        for number in range(25):
            table.commit(days[0 if number else 1], [], {"n": number})
        for number in (2, 3, 2):
            table.commit(days[number], rows(1), {"n": f"day {number}"})
        assert table.last_commits(days) == [{"n": 24}, {"n": 0}, {"n": "day 2"}, {"n": "day 3"}, None, None, None]
        assert [table.last_commit(day) for day in days] == table.last_commits(days)

    def it_appends(self, table: Table) -> None:
        table.commit(PARTITION, rows(2), {"n": 1}, mode="append")
        table.commit(PARTITION, rows(2, "b"), {"n": 2}, mode="append")
        assert table.read()["key"].to_pylist() == ["a00000", "a00001", "b00000", "b00001"]
        assert len(table.files()) == 2

    def it_takes_a_partition_without_rows_as_a_commit(self, table: Table) -> None:
        assert table.commit(PARTITION, rows(0), {"fingerprint": "none"}) == 0
        assert (table.last_commit(PARTITION), table.read().num_rows) == ({"fingerprint": "none"}, 0)
        table.commit(PARTITION, rows(4), {"fingerprint": "four"})
        assert table.commit(PARTITION, [], {"fingerprint": "none again"}) == 2
        assert (table.read(PARTITION).num_rows, table.files()) == (0, [])
        assert table.last_commit(PARTITION) == {"fingerprint": "none again"}
        assert table.commit(OTHER, [], {}, mode="append") == 3
        assert table.last_commit(OTHER) == {}

    def it_gives_equal_rows_whatever_the_order_and_number_of_files(
        self, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table.commit(PARTITION, rows(300, seed=1), {})
        first = table.read()
        monkeypatch.setattr("darkroom.tables.table.TARGET_BYTES", 4096)
        table.commit(PARTITION, rows(300, seed=2), {})
        assert len(table.files()) > 3
        assert table.read().equals(first)

    def it_commits_files_that_workers_wrote(self, table: Table, storage: Storage, tmp_path: Path) -> None:
        worker: Table = pickle.loads(pickle.dumps(table))
        added = [worker.write_file(PARTITION, rows(3, tag)) for tag in ("b", "a")]
        path, address = worker.new_file(PARTITION)
        assert address == storage.uri(f"{SPEC.path}/{path}")
        pq.write_table(rows(2, "c"), tmp_path / "file")
        size = storage.write(f"{SPEC.path}/{path}", tmp_path / "file").size
        assert table.version() is None
        empty = worker.write_file(PARTITION, rows(0))
        table.commit(PARTITION, [*added, AddedFile(path, size, 2), empty], {})
        assert [key[0] for key in table.read()["key"].to_pylist()] == list("aaabbbcc")
        assert len(table.files()) == 3

    def it_makes_an_earlier_result_current_again(self, table: Table) -> None:
        partition = {"dt": "a'b/c ü%=", "feed": "12e456"}
        one, two = (table.write_file(partition, rows(3, tag)) for tag in "ab")
        table.commit(partition, [one, two], {})
        table.commit(partition, [two], {})
        assert {key[0] for key in table.read(partition)["key"].to_pylist()} == {"b"}
        table.commit(partition, [one, two], {})
        table.commit(partition, [one, two], {}, mode="append")
        assert table.read(partition).num_rows == 6
        table.commit(partition, [one], {})
        assert [key[0] for key in table.read(partition)["key"].to_pylist()] == list("aaa")

    @pytest.mark.parametrize(
        "value",
        ["12e456", "0123", "a'b/c ü%", "..", "x=y&z", 'quo"te', "日本", "a%2Fb", "null", "__HIVE_DEFAULT_PARTITION__"],
    )
    def it_keeps_awkward_partition_values(self, table: Table, value: str) -> None:
        partition = {"dt": value, "feed": "clinic"}
        table.commit(PARTITION, rows(1, "other"), {})
        for tag in "ab":
            table.commit(partition, rows(2, tag), {"tag": tag})
        assert table.read(partition)["key"].to_pylist() == ["b00000", "b00001"]
        assert set(table.read(partition)["dt"].to_pylist()) == {value}
        assert table.last_commit(partition) == {"tag": "b"}
        assert table.read().num_rows == 3

    def it_casts_what_fits(self, table: Table) -> None:
        given = rows(4)
        for name, kind in [
            ("key", pa.large_string()),
            ("count", pa.int64()),
            ("score", pa.float32()),
            ("pixels", pa.large_binary()),
        ]:
            place = given.column_names.index(name)
            given = given.set_column(place, name, given[name].cast(kind))
        given = given.append_column("dt", pa.array(["2026-01-01"] * 4).dictionary_encode())
        table.commit(PARTITION, given.select(reversed(given.column_names)), {})
        assert table.read().schema.equals(SPEC.schema)
        assert table.read()["count"].to_pylist() == [0, 1, 2, 3]

    def it_refuses_rows_that_do_not_fit_and_changes_nothing(self, table: Table) -> None:
        table.commit(PARTITION, rows(2), {"n": 1})
        good = rows(3)
        bad: list[tuple[str, pa.Table]] = [
            (r"missing \['score'\]", good.drop_columns(["score"])),
            (r"unknown \['extra'\]", good.append_column("extra", good["key"])),
            (r"twice \['key'\]", good.append_column("key", good["key"])),
            ("holds 1 nulls", good.set_column(0, "key", pa.array(["a", None, "c"]))),
            ("does not fit int32", good.set_column(3, "count", pa.array([1, 2, 2**40]))),
            ("does not fit int32", good.set_column(3, "count", pa.array(["1", "two", "3"]))),
            ("does not fit double", good.set_column(2, "score", pa.array([{"a": 1}] * 3))),
            ("dt='2026-01-02'", good.append_column("dt", pa.array(["2026-01-01", "2026-01-02", "2026-01-01"]))),
        ]
        for message, content in bad:
            with pytest.raises(InvalidRequest, match=message):
                table.commit(PARTITION, content, {})
            with pytest.raises(InvalidRequest, match=message):
                table.write_file(PARTITION, content)
        assert (table.version(), table.read().num_rows) == (0, 2)

    def it_refuses_a_wrong_call(self, table: Table) -> None:
        added = table.write_file(PARTITION, rows(2))
        calls: list[tuple[str, Callable[[], Any]]] = [
            (r"lacks \['feed'\]", lambda: table.commit({"dt": "x"}, rows(1), {})),
            ("not partitioned by 'color'", lambda: table.commit(PARTITION | {"color": "x"}, rows(1), {})),
            ("feed=''", lambda: table.commit(PARTITION | {"feed": ""}, rows(1), {})),
            ("feed=None", lambda: table.commit(PARTITION | {"feed": None}, rows(1), {})),  # type: ignore[dict-item]
            ("mode 'delete'", lambda: table.commit(PARTITION, rows(1), {}, mode="delete")),  # type: ignore[arg-type]
            ("as JSON", lambda: table.commit(PARTITION, rows(1), {"x": float("nan")})),
            ("as JSON", lambda: table.commit(PARTITION, rows(1), {"x": object()})),
            ("is absent", lambda: table.commit(PARTITION, [AddedFile(added.path + "x", 5, 2)], {})),
            ("expected 5 bytes", lambda: table.commit(PARTITION, [AddedFile(added.path, 5, 2)], {})),
            ("not in its partition", lambda: table.commit(OTHER, [added], {})),
            ("named twice", lambda: table.commit(PARTITION, [added, added], {})),
            ("no column 'none'", lambda: table.read(columns=["none"])),
            ("not partitioned by", lambda: table.files({"key": "x"})),
        ]
        for message, call in calls:
            with pytest.raises(InvalidRequest, match=message):
                call()
        assert table.version() is None
        table.commit(PARTITION, [added], {})
        for version in (-1, 1, 99):
            with pytest.raises(InvalidRequest, match="from 0 to 0"):
                table.read(version=version)

    def it_remembers_every_commit(self, table: Table) -> None:
        notes = [{"fingerprint": "'\"ü\n", "deep": {"list": [1, 2.5, None]}}, {"n": 2}]
        for number, note in enumerate(notes):
            assert table.commit(PARTITION, rows(1), note) == number
        history = table.history()
        assert [entry["version"] for entry in history] == [1, 0]
        assert [entry["metadata"] for entry in history] == notes[::-1]
        assert all(entry["partition"] == PARTITION and entry["timestamp"] > 10**12 for entry in history)

    def it_finds_a_partitions_last_commit_behind_many_others_and_a_checkpoint(
        self, table: Table, storage: Storage
    ) -> None:
        table.commit(PARTITION, rows(2), {"n": "first"})
        for number in range(22):
            table.commit(OTHER, [], {"n": number})
        assert any(blob.path.endswith(".checkpoint.parquet") for blob in storage.list(f"{SPEC.path}/_delta_log"))
        assert table.last_commit(PARTITION) == {"n": "first"}
        assert table.last_commit(OTHER) == {"n": 21}
        assert (table.read().num_rows, len(table.history())) == (2, 23)

    def it_refuses_a_commit_made_from_an_older_state(self, table: Table) -> None:
        table.commit(PARTITION, rows(2), {"n": 1}, after=0)
        number = table.commit_number(PARTITION)
        table.commit(OTHER, rows(1), {}, after=0)
        table.commit(PARTITION, rows(3), {"n": 2}, after=number)
        with pytest.raises(CommitConflict, match="Run it again"):
            table.commit(PARTITION, rows(9), {"n": 3}, after=number)
        with pytest.raises(CommitConflict, match="Run it again"):
            table.commit(OTHER, rows(9), {"n": 3}, after=0, mode="append")
        assert (table.read(PARTITION).num_rows, table.read(OTHER).num_rows) == (3, 1)

    def it_lets_one_of_racing_writers_of_a_partition_land_and_writers_of_other_partitions_all(
        self, storage: Storage
    ) -> None:
        days = [{"dt": f"2026-01-{day:02}", "feed": "clinic"} for day in range(1, 9)]
        several, one = (Table(storage, replace(SPEC, path=f"tables/{name}/x")) for name in ("several", "one"))
        made_by_8, made_by_one_of_6, fresh, appended = race(
            [
                [(several, day, {}) for day in days],
                [(one, PARTITION, {"after": 0})] * 6,
                [(several, PARTITION | {"feed": "fresh"}, {"after": 0})] * 6,
                [(several, PARTITION | {"feed": "appended"}, {"after": 0, "mode": "append"})] * 6,
            ]
        )
        assert sorted(version for version in made_by_8 if version is not None) == list(range(8))
        for day, table, versions in [
            (PARTITION, one, made_by_one_of_6),
            (PARTITION | {"feed": "fresh"}, several, fresh),
            (PARTITION | {"feed": "appended"}, several, appended),
        ]:
            (winner,) = [number for number, version in enumerate(versions) if version is not None]
            assert table.last_commit(day) == {"writer": winner}
            assert {key.partition("-")[0] for key in table.read(day)["key"].to_pylist()} == {f"writer{winner}"}
            assert table.read(day).num_rows == 20
        assert (one.version(), several.version()) == (0, 9)
        assert several.read().num_rows == 10 * 20
