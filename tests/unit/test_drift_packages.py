"""A model's package carries its drift reference, and batch inference writes the features that are compared with it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import images_table, predictions_table
from darkroom.decode import ImageFile
from darkroom.drift import Projection, check_rows, images_of_rows
from darkroom.errors import ModelError
from darkroom.imagestats import measure
from darkroom.model import load_package, write_package
from darkroom.package import pack
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.predict import classify_files
from tests.packages import TRANSFORM, bright_or_dark, package_info, png, write_dataset
from training.config import parse_config
from training.kinds import Fitted
from training.packaging import build_package

pytestmark = pytest.mark.unit

CONFIG = parse_config({"name": "by_hand", "kind": "mllib_logistic_regression", "transform": TRANSFORM.model_dump()})


def packaged(lake: Storage, measured: bool = True) -> Any:
    """The package of a linear model and its task; ``measured``: the manifest knows sizes and intensities."""
    dataset = write_dataset(lake, "lamps", [TRANSFORM], other=120)
    if measured:
        table = Table(lake, images_table("lamps"))
        rows = table.read({"version": "v1"}).to_pylist()
        for row in rows:
            seen = measure(lake.read(row["uri"]))
            row |= {name: getattr(seen, name) for name in ("mean", "std", "min", "max", "width", "height", "mode")}
        table.commit({"version": "v1"}, pa.Table.from_pylist(rows, schema=table.spec.schema), {"again": True})
    return build_package(lake, {**dataset, "model": "lamps", "seed": 0}, CONFIG, Fitted(bright_or_dark()))


def rows_of(lake: Storage, package: str, files: dict[str, bytes]) -> Any:
    """What batch inference would write for some files."""
    for name, data in files.items():
        lake.write(name, data)
    model = load_package(lake, package)
    found = classify_files(lake, model, [(name, len(data)) for name, data in files.items()])
    schema = predictions_table("lamps").schema
    fields = pa.schema([field for field in schema if field.name in found[0]])
    return pa.Table.from_pylist(found, schema=fields)


def it_compares_a_day_of_predictions_with_the_validation_images(lake: Storage) -> None:
    built = packaged(lake)
    reference = load_package(lake, built.path).reference
    assert reference is not None
    assert (len(reference), reference.groups, reference.kind) == (120, 60, "pixels")
    calm = {f"in/{n}.png": png(165 if n % 2 else 90, 50_000 + n) for n in range(100)} | {"in/bad.png": b"x"}
    rows = rows_of(lake, built.path, calm)
    assert len(rows["embedding"][0]) == reference.projection.matrix.shape[1] <= 64
    assert rows["embedding"][100].as_py() is None
    report = check_rows(reference, rows)
    assert (report.state, report.images, report.left_out) == ("checked", 100, {"unreadable": 1})
    assert report.skipped == {}
    assert report.p is not None
    assert report.p > 0.02
    dark = {f"in/{n}.png": png(140 if n % 2 else 65, 50_000 + n) for n in range(100)}
    report = check_rows(reference, rows_of(lake, built.path, dark))
    assert report.p is not None
    assert report.p < 0.004


def it_skips_what_the_manifest_did_not_measure(lake: Storage) -> None:
    built = packaged(lake, measured=False)
    report = check_rows(load_package(lake, built.path).reference, rows_of(lake, built.path, {"a.png": png(90, 1)}))
    assert report.state == "too few images"
    reference = load_package(lake, built.path).reference
    calm = {f"in/{n}.png": png(165 if n % 2 else 90, 50_000 + n) for n in range(60)}
    report = check_rows(reference, rows_of(lake, built.path, calm))
    assert set(report.skipped) == {"brightness", "contrast", "darkest", "brightest", "width", "height", "mode"}


def it_is_silent_about_packages_and_rows_from_before(lake: Storage) -> None:
    path, _ = write_package(lake, "lamps", package_info(), bright_or_dark())
    model = load_package(lake, path)
    assert model.reference is None
    rows = rows_of(lake, path, {f"in/{n}.png": png(90, n) for n in range(40)})
    assert rows["embedding"].null_count == 40
    assert check_rows(model.reference, rows).state == "no reference"
    old = rows.drop_columns(["embedding"])
    assert images_of_rows(old)[0].features is None
    built = packaged(lake)
    report = check_rows(load_package(lake, built.path).reference, old)
    assert (report.state, set(report.skipped)) == ("checked", {"embedding"})


def it_adds_the_column_to_a_table_from_before(lake: Storage) -> None:
    spec = predictions_table("lamps")
    before = replace(spec, schema=spec.schema.remove(spec.schema.get_field_index("embedding")))
    text = dict.fromkeys(("image_id", "path", "model", "model_version", "run_id", "transform_hash"), "x")
    row = text | {"dataset_version": "v1", "size_bytes": 1, "predicted_at": datetime(2026, 1, 2, tzinfo=UTC)}
    days = [{"dt": f"2026-01-0{day}", "feed": "clinic", "origin": "batch"} for day in (1, 2)]
    Table(lake, before).commit(days[0], pa.Table.from_pylist([row | days[0]], schema=before.schema), {})
    after = pa.Table.from_pylist([row | days[1] | {"embedding": [0.5, -1.0]}], schema=spec.schema)
    Table(lake, spec).commit(days[1], after, {})
    assert Table(lake, spec).read()["embedding"].to_pylist() == [None, [0.5, -1.0]]
    named = deltalake.DeltaTable(Table(lake, spec).uri).schema().to_arrow()
    assert "embedding" in [field.name for field in named]


def it_gives_an_image_the_same_features_beside_any_others(lake: Storage) -> None:
    model = load_package(lake, packaged(lake).path)
    pixels = np.stack([TRANSFORM.apply(ImageFile(png(90 + n, n))) for n in range(70)])
    probabilities, features = model.predict_with_features(pixels)
    assert features is not None
    np.testing.assert_array_equal(probabilities, model.predict(pixels))
    alone = [model.predict_with_features(one[None])[1] for one in pixels]
    np.testing.assert_array_equal(features, np.concatenate(alone))
    nothing = model.predict_with_features(pixels[:0])
    assert (nothing[0].shape, nothing[1].shape) == ((0, 2), (0, features.shape[1]))


def it_refuses_a_reference_of_another_model(lake: Storage) -> None:
    reference = load_package(lake, packaged(lake).path).reference
    assert reference is not None
    relabelled = replace(
        reference,
        classes=("A", "B"),
        truth=np.full(len(reference), "A"),
        images=replace(reference.images, label=np.full(len(reference), "B")),
    )
    narrow = replace(reference, projection=Projection(np.zeros(5, np.float32), reference.projection.matrix[:5]))
    for other in (replace(reference, kind="embedding"), relabelled, narrow):
        with pytest.raises(ModelError, match="another model's"):
            write_package(lake, "lamps", package_info(), bright_or_dark(), other)


def it_refuses_a_package_with_a_damaged_reference(lake: Storage) -> None:
    reference = load_package(lake, packaged(lake).path).reference
    data = pack(package_info(), bright_or_dark(), reference)
    assert data == pack(package_info(), bright_or_dark(), reference)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"no arrays" if name == "reference.npz" else old.read(name))
    with pytest.raises(ModelError, match="drift reference"):
        load_package(lake, out.getvalue())
