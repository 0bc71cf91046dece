"""Tables on a folder, and what tables share on every storage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import TableSpec, examples_table, predictions_table
from darkroom.errors import StorageUnavailable
from darkroom.storage import FolderStorage, Storage, open_storage
from darkroom.tables import Table
from darkroom.tables.rows import in_order, in_slices
from tests.suites.retention import RetentionSuite
from tests.suites.rows import OTHER, PARTITION, SPEC, rows
from tests.suites.tables import TableSuite

pytestmark = pytest.mark.unit


class TestTableInAFolder(TableSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(str(tmp_path / "my lake"))


class TestRetentionInAFolder(RetentionSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(str(tmp_path / "my lake"))


def it_takes_the_tables_of_the_contract(tmp_path: Path) -> None:
    table = Table(FolderStorage(tmp_path), examples_table("cats"))
    pixels = np.arange(12, dtype=np.uint8).tobytes()
    content = {"content_id": ["b", "a"], "pixels": [pixels] * 2, "height": [2, 2], "width": [2, 2], "channels": [3, 3]}
    table.commit({"transform_hash": "12e4567890123456"}, pa.table(content), {"fingerprint": "x"})
    found = table.read()
    assert found["content_id"].to_pylist() == ["a", "b"]
    assert found["pixels"][0].as_py() == pixels
    assert Table(FolderStorage(tmp_path), predictions_table("cats")).read().num_rows == 0


def it_can_be_copied_to_another_place(tmp_path: Path) -> None:
    Table(FolderStorage(tmp_path / "lake"), SPEC).commit(PARTITION, rows(3), {})
    os.rename(tmp_path / "lake", tmp_path / "moved")
    table = Table(FolderStorage(tmp_path / "moved"), SPEC)
    assert table.read().num_rows == 3
    assert all(Path(address).is_file() for address in table.files())


def it_reads_files_that_lack_a_column_of_a_newer_contract(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    Table(storage, SPEC).commit(PARTITION, rows(3), {})
    newer = TableSpec(SPEC.path, SPEC.schema.append(pa.field("extra", pa.string())), SPEC.partition_by, SPEC.sort_by)
    assert Table(storage, newer).read()["extra"].to_pylist() == [None] * 3


def it_says_that_a_log_is_damaged(tmp_path: Path) -> None:
    table = Table(FolderStorage(tmp_path), SPEC)
    table.commit(PARTITION, rows(3), {})
    (tmp_path / SPEC.path / "_delta_log" / f"{1:020d}.json").write_text("rubbish")
    with pytest.raises(StorageUnavailable, match=r"Could not read the table .*cats/predictions") as caught:
        table.read()
    assert "\n" not in caught.value.message


def it_leaves_the_interpreter_in_peace_at_its_end(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from darkroom.storage import open_storage\n"
        "from darkroom.tables import Table\n"
        "from tests.suites.rows import PARTITION, SPEC, rows\n"
        "table = Table(open_storage(sys.argv[1]), SPEC)\n"
        "table.commit(PARTITION, rows(100), {})\n"
        "print(table.read().num_rows, table.history()[0]['version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "100 0\n"), done.stderr


def it_sorts_wide_rows_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.tables.rows._WIDE_BYTES", 1000)
    monkeypatch.setattr("darkroom.tables.rows._SLICE_BYTES", 500)
    found = in_order(rows(200), ["key"])
    assert found.to_pylist() == rows(200).sort_by("key").to_pylist()
    assert found.schema == rows(1).schema


def it_cuts_rows_into_pieces_of_about_a_size() -> None:
    content = rows(100)
    assert in_slices(content.slice(0, 0), 10) == []
    assert [piece.num_rows for piece in in_slices(content, content.nbytes)] == [100]
    assert [piece.num_rows for piece in in_slices(content, content.nbytes // 4 + 1)] == [25] * 4
    assert [piece.num_rows for piece in in_slices(content.slice(0, 3), 1)] == [1, 1, 1]
    assert pa.concat_tables(in_slices(content, 700)).equals(content)


def it_leaves_files_of_a_lost_race_unnamed(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    table = Table(storage, SPEC)
    table.write_file(OTHER, rows(5))
    table.commit(PARTITION, rows(3), {})
    assert (table.read().num_rows, len(table.files())) == (3, 1)
    assert sum(blob.path.endswith(".parquet") for blob in storage.list(SPEC.path)) == 2
