"""The snippet of docs/drift.md checks a day against the reference of the model that classified it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import predictions_table
from darkroom.drift import pixel_statistics
from darkroom.model import write_package
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.drifting import day_of, reference_of
from tests.packages import TRANSFORM, bright_or_dark, package_info
from tests.suites.documents import python_blocks, run_block

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("normal", "said"), [(0.25, "nothing unusual"), (0.8, "once in 1000 days")])
def it_checks_a_day_as_the_page_says(tmp_path: Path, normal: float, said: str) -> None:
    reference = reference_of()
    blank = pixel_statistics(np.zeros((1, *TRANSFORM.shape), np.uint8)).shape[1]
    narrow = replace(reference.projection, mean=reference.projection.mean[:blank])
    narrow = replace(narrow, matrix=reference.projection.matrix[:blank])
    fitting = replace(reference, kind="pixels", projection=narrow)
    lake = open_storage(str(tmp_path / ".darkroom" / "lake"))
    info = package_info(classes=reference.classes, positive_class="PNEUMONIA")
    path, _ = write_package(lake, "phantom", info, bright_or_dark(), fitting)
    images = day_of(reference, 1, normal=normal)
    names = ("mean", "std", "min", "max", "width", "height", "size_bytes")
    day = {"dt": "2026-01-02", "feed": "phantom", "origin": "batch"}
    text = dict.fromkeys(("model", "model_version", "run_id", "transform_hash", "dataset_version"), "x")
    rows = [
        text
        | day
        | {"image_id": key, "path": key, "label": str(images.label[row]), "score": float(images.score[row])}
        | {"mode": "L", "embedding": images.features[row], "predicted_at": datetime(2026, 1, 3, tzinfo=UTC)}
        | {name: images.numbers[row, column].item() for column, name in enumerate(names)}
        for row, key in enumerate(images.ids)
    ]
    table = Table(lake, predictions_table("phantom"))
    for row in rows:
        row |= {name: int(row[name]) for name in ("width", "height", "size_bytes")}
    table.commit(day, pa.Table.from_pylist(rows, schema=table.spec.schema), {"package": path})
    (code,) = python_blocks("drift.md")
    printed = run_block(code, tmp_path)
    assert "200 images" in printed
    assert said in printed
