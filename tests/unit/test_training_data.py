"""What training reads: every image of a part with its own pixels, or a clear no."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import examples_table, raw_blob, splits_table
from darkroom.errors import DataError
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import CLASSES, TRANSFORM, write_dataset
from training import data
from training.data import class_names, part_rows, read_examples, read_split

pytestmark = pytest.mark.unit


def it_reads_every_image_of_a_part_with_its_own_pixels(lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=12, other=6)
    split = read_split(lake, "lamps", "s1")
    for part, count in (("train", 12), ("val", 6), ("test", 6)):
        found = read_examples(lake, "lamps", split, part, TRANSFORM)
        assert len(found) == count
        assert found.content_ids == sorted(found.content_ids)
        assert found.classes == CLASSES
        for key, pixels in zip(found.content_ids, found.pixels, strict=True):
            np.testing.assert_array_equal(pixels, TRANSFORM.apply(lake.read(raw_blob("lamps", key))))
        bright = found.pixels.mean((1, 2, 3)) > 127
        np.testing.assert_array_equal(found.truth == 0, bright)


def it_reads_the_same_from_a_temporary_file(lake: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=12, other=6)
    split = read_split(lake, "lamps", "s1")
    inside = read_examples(lake, "lamps", split, "train", TRANSFORM)
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 100)
    mapped = read_examples(lake, "lamps", split, "train", TRANSFORM, tmp_path)
    assert isinstance(mapped.pixels, np.memmap)
    np.testing.assert_array_equal(mapped.pixels, inside.pixels)


def it_says_what_is_missing(lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=12, other=6)
    split = read_split(lake, "lamps", "s1")
    with pytest.raises(DataError, match="no split 's9'"):
        read_split(lake, "lamps", "s9")
    with pytest.raises(DataError, match="no part 'dev'"):
        read_examples(lake, "lamps", split, "dev", TRANSFORM)
    with pytest.raises(DataError, match="no image in val"):
        read_examples(lake, "lamps", split.filter(pa.compute.not_equal(split["split"], "val")), "val", TRANSFORM)
    table = Table(lake, examples_table("lamps"))
    rows = table.read({"transform_hash": TRANSFORM.hash})
    table.commit({"transform_hash": TRANSFORM.hash}, rows.slice(1), {})
    first = rows["content_id"][0].as_py()
    part = dict(zip(split["content_id"].to_pylist(), split["split"].to_pylist(), strict=True))[first]
    with pytest.raises(DataError, match=f"1 of .* {first[:12]}"):
        read_examples(lake, "lamps", split, part, TRANSFORM)


def it_refuses_pixels_of_a_wrong_size(lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=4, other=2)
    table = Table(lake, examples_table("lamps"))
    rows = table.read({"transform_hash": TRANSFORM.hash}).to_pylist()
    rows = [{**row, "pixels": b"short"} for row in rows]
    table.commit({"transform_hash": TRANSFORM.hash}, pa.Table.from_pylist(rows, schema=table.spec.schema), {})
    with pytest.raises(DataError, match="5 bytes"):
        read_examples(lake, "lamps", read_split(lake, "lamps", "s1"), "train", TRANSFORM)


def it_leaves_out_what_is_out_and_needs_every_class_in_train(lake: Storage) -> None:
    write_dataset(lake, "lamps", [TRANSFORM], train=4, other=2)
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    changed = [{**row, "split": "out"} if row["split"] == "train" and row["label"] == "DARK" else row for row in rows]
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(changed, schema=table.spec.schema), {})
    split = read_split(lake, "lamps", "s1")
    assert split.num_rows == 6
    with pytest.raises(DataError, match=r"no image of \['DARK'\]"):
        class_names(split)
    with pytest.raises(DataError, match="at least two"):
        class_names(split.filter(pa.compute.equal(split["label"], "BRIGHT")))


def it_names_the_unit_of_each_image(lake: Storage) -> None:
    """Patients p0 and p1 share a near duplicate; two images without a patient are near duplicates of each other."""
    write_dataset(lake, "lamps", [TRANSFORM], train=12, other=6)
    table = Table(lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    ids = [row["content_id"] for row in rows if row["split"] == "train"]
    ties = [("p0", "c1"), ("p0", None), ("p1", "c1"), ("p1", None), ("p2", None), (None, "c2"), (None, "c2")]
    told = dict(zip(ids, [*ties, *[(None, None)] * 5], strict=True))
    for row in rows:
        row["group"], row["duplicate_cluster"] = told.get(row["content_id"], (None, None))
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(rows, schema=table.spec.schema), {})
    found = part_rows(read_split(lake, "lamps", "s1"), "train")
    units = [dict(zip(found.content_ids, found.group, strict=True))[key] for key in ids]
    assert units[:5] == ["p0", "p0", "p0", "p0", "p2"]
    assert units[5] == units[6] == min(ids[5:7])
    assert units[7:] == ids[7:]
