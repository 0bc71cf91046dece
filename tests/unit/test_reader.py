"""One reader of a dataset's images: in the lake or in place, whole and unchanged, and in order."""

from __future__ import annotations

import ast
import hashlib
import threading
from pathlib import Path

import pytest

from darkroom.errors import DataError
from darkroom.reader import ImageReader, read_in_order
from darkroom.storage import Storage

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def it_reads_from_the_lake_and_in_place(lake: Storage, tmp_path: Path) -> None:
    lake.write("raw/a", b"one")
    (tmp_path / "b.png").write_bytes(b"two")
    wanted = [("raw/a", sha256(b"one")), (str(tmp_path / "b.png"), sha256(b"two"))]
    assert list(ImageReader(lake).read_all(wanted)) == [b"one", b"two"]


def it_refuses_what_changed_or_is_gone(lake: Storage, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"other")
    reader = ImageReader(lake)
    with pytest.raises(DataError, match=r"b\.png has changed since"):
        reader.read(str(tmp_path / "b.png"), sha256(b"two"))
    with pytest.raises(DataError, match=r"c\.png is gone since"):
        reader.read(str(tmp_path / "c.png"), sha256(b"two"))
    with pytest.raises(DataError, match="raw/none is gone since"):
        reader.read("raw/none", sha256(b"two"))


def it_keeps_the_order_when_it_reads_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)

    def read(number: int) -> int:
        both.wait()
        return number * 10

    assert list(read_in_order(read, [1, 2, 3, 4], local=False)) == [10, 20, 30, 40]
    assert list(read_in_order(lambda number: number, [2, 1], local=True)) == [2, 1]


def it_is_the_only_one_that_opens_the_folder_of_an_image() -> None:
    others = {
        str(path.relative_to(ROOT))
        for package in ("darkroom/eda", "spark_apps", "training")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id in ("open_storage", "ThreadPoolExecutor")
    }
    # The folder of a model package; a file of weights; the threads from which fits in Spark are started.
    assert others == {"training/pyfunc_model.py", "training/networks/weights.py", "training/experiments/placement.py"}
