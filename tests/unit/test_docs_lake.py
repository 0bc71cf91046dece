"""The commands of docs/lake.md do what the page says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.contract import PREDICTIONS_SCHEMA, predictions_table
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.suites.documents import bash_blocks, python_blocks, run_block, run_commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake that holds the predictions of two dates, one of them replaced once."""
    folder = tmp_path_factory.mktemp("docs")
    table = Table(open_storage(str(folder / ".darkroom" / "lake")), predictions_table("phantom"))
    for dt, count in (("2026-01-01", 7), ("2026-01-02", 5), ("2026-01-01", 3)):
        table.commit({"dt": dt, "feed": "phantom", "origin": "batch"}, _predictions(count), {"images": count})
    return folder


def _predictions(count: int) -> pa.Table:
    text = {name: ["x"] * count for name in ("image_id", "model", "model_version", "run_id", "transform_hash")}
    rows = text | {
        "path": [f"{number}.jpg" for number in range(count)],
        "dataset_version": ["x"] * count,
        "label": ["NORMAL" if number % 2 else "PNEUMONIA" for number in range(count)],
        "score": [0.5 + number / 100 for number in range(count)],
        "size_bytes": [100] * count,
        "predicted_at": [datetime(2026, 1, 3, tzinfo=UTC)] * count,
    }
    fields = [field for field in PREDICTIONS_SCHEMA if field.name not in ("dt", "feed", "origin")]
    return pa.table(
        [pa.array(rows.get(field.name, [None] * count), field.type) for field in fields], schema=pa.schema(fields)
    )


@pytest.mark.unit
def it_reads_tables_as_the_page_says(folder: Path) -> None:
    duckdb_folder, duckdb_any, pandas, _, history = python_blocks("lake.md")
    for code in (duckdb_folder, duckdb_any):
        said = run_block(code, folder)
        assert [line for line in said.splitlines() if "2026-01-01" in line and "PNEUMONIA" in line and " 2 " in line]
        assert [line for line in said.splitlines() if "2026-01-02" in line and "NORMAL" in line and " 2 " in line]
    assert "0.jpg" in run_block(pandas, folder)
    assert "{'images': 3}" in run_block(history, folder)
    assert "7 rows in the first version" in run_block(history, folder)


@pytest.mark.unit
def it_copies_checks_and_cleans_as_the_page_says(folder: Path, tmp_path: Path) -> None:
    (commands,) = bash_blocks("lake.md")
    assert commands.count("/tmp/copy-of-the-lake") == 3
    said = run_commands(commands.replace("/tmp/copy-of-the-lake", str(tmp_path / "copy")), folder)
    assert "each verified by SHA-256; 0 of them were there already" in said
    assert "0 missing or damaged, 0 left over" in said
    assert "0 unfinished writes removed" in said
    assert list((folder / ".darkroom" / "copies").iterdir())


@pytest.mark.integration
def it_reads_tables_in_spark_as_the_page_says(folder: Path) -> None:
    said = run_block(python_blocks("lake.md")[3], folder)
    assert "|2026-01-01|PNEUMONIA|    2|" in said
    assert "|2026-01-02|   NORMAL|    2|" in said
