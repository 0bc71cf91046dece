"""Batch inference on Spark: what arrives becomes rows, the same ones every time."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from darkroom.contract import NOT_COMPARED, predictions_table
from darkroom.errors import InvalidRequest, ModelError
from darkroom.features import FittedFeatures
from darkroom.inbox import arrived
from darkroom.model import load_package
from darkroom.prediction_page import write_summary
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.arrivals import commit_predictions, plan_prediction
from spark_apps.jobs.predict import classify, summarise
from spark_apps.predict import predict_inbox
from tests.packages import champion_of, on_features, png

pytestmark = pytest.mark.unit
DAY = "2026-01-02"


def fill_inbox(lake: Storage, count: int = 50) -> dict[str, bytes]:
    files = {f"ward/{n:03}.png": png(165 if n % 3 else 90, n) for n in range(count)}
    files |= {"empty.png": b"", "words.jpg": b"not an image at all", "cut.png": files["ward/000.png"][:200]}
    for name, data in {**files, "_SUCCESS": b"", ".hidden.png": b"x", "_tmp/part.png": b"x"}.items():
        lake.write(f"inbox/clinic/dt={DAY}/{name}", data)
    return files


def request_for(lake: Storage, **changes: Any) -> dict[str, Any]:
    champion = changes.pop("champion", None) or champion_of(lake)
    request = {"feed": "clinic", "model": "lamps", "dt": DAY, "champion": champion}
    return request | {"predicted_at": "2026-01-03T01:00:00+00:00"} | changes


def run(spark: Any, lake: Storage, request: dict[str, Any], partitions: int | None = None) -> dict[str, Any]:
    plan = plan_prediction(lake, request)
    counts = predict_inbox(spark, plan, partitions)
    files = counts.pop("files")
    summary = summarise(plan, counts, 1.0, 2.0)
    commit_predictions(plan, files, summary)
    return write_summary(lake, summary)


def it_classifies_what_arrived_and_keeps_bad_files_as_rows(spark: Any, lake: Storage) -> None:
    files = fill_inbox(lake)
    request = request_for(lake)
    result = run(spark, lake, request)
    rows = {row["path"]: row for row in Table(lake, predictions_table("lamps")).read().to_pylist()}
    assert set(rows) == set(files)
    assert result["images"] == 53
    assert result["problems"] == 3
    assert result["labels"] == {"BRIGHT": 33, "DARK": 17}
    bad = {path for path, row in rows.items() if row["problem"]}
    assert bad == {"empty.png", "words.jpg", "cut.png"}
    assert all(rows[path]["label"] is None and rows[path]["probabilities"] is None for path in bad)
    row = rows["ward/001.png"]
    assert row["label"] == "BRIGHT"
    assert row["score"] == max(row["probabilities"])
    assert row["image_id"] == hashlib.sha256(files["ward/001.png"]).hexdigest()
    assert (row["width"], row["height"], row["size_bytes"]) == (24, 24, len(files["ward/001.png"]))
    assert (row["dt"], row["feed"], row["origin"], row["model_version"]) == (DAY, "clinic", "batch", "1")
    assert row["predicted_at"].isoformat() == "2026-01-03T01:00:00+00:00"
    assert json.loads(lake.read(result["summary"]))["bad_files"]
    assert b"2026-01-02" in lake.read(result["page"])


@pytest.mark.parametrize("features", [None, on_features()[2]], ids=["pixels", "features"])
def it_predicts_what_the_package_predicts(spark: Any, lake: Storage, features: FittedFeatures | None) -> None:
    files = fill_inbox(lake)
    request = request_for(lake, champion=champion_of(lake, features=features))
    run(spark, lake, request)
    model = load_package(lake, request["champion"]["package"])
    for row in Table(lake, predictions_table("lamps")).read().to_pylist():
        if row["problem"] is None:
            alone = model.predict(model.transform.apply(files[row["path"]])[None])
            np.testing.assert_allclose(row["probabilities"], alone[0], atol=1e-6)


def it_gives_equal_rows_whatever_the_partitions(spark: Any, lake: Storage) -> None:
    fill_inbox(lake)
    request = request_for(lake)
    table = Table(lake, predictions_table("lamps"))
    columns = [name for name in table.spec.schema.names if name not in NOT_COMPARED]
    seen = []
    for partitions, moment in ((1, "2026-01-03T01:00:00Z"), (4, "2026-02-03T01:00:00Z")):
        run(spark, lake, request | {"predicted_at": moment}, partitions)
        seen.append(table.read(columns=columns))
    assert seen[0].equals(seen[1])


def it_does_nothing_a_second_time(spark: Any, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_inbox(lake)
    request = request_for(lake)
    first = run(spark, lake, request)
    version = Table(lake, predictions_table("lamps")).version()
    monkeypatch.setenv("DARKROOM_LAKE", lake.root)
    from darkroom.settings import get_settings

    get_settings.cache_clear()
    again = classify(request | {"predicted_at": "2026-05-05T00:00:00Z", "left_out": ["ward-b"]})
    get_settings.cache_clear()
    assert again == {**first, "left_out": ["ward-b"], "changed": False}
    assert Table(lake, predictions_table("lamps")).version() == version


def it_classifies_again_when_a_file_or_the_champion_changed(spark: Any, lake: Storage) -> None:
    fill_inbox(lake, 4)
    request = request_for(lake)
    run(spark, lake, request)
    assert plan_prediction(lake, request).earlier is not None
    other = request_for(lake, champion=champion_of(lake, threshold=0.9) | {"version": "2"})
    assert plan_prediction(lake, other).earlier is None
    lake.write(f"inbox/clinic/dt={DAY}/late.png", png(90, 99))
    assert plan_prediction(lake, request).earlier is None
    assert run(spark, lake, request)["images"] == 8


@pytest.mark.parametrize("marker", [None, "_SUCCESS"])
def it_commits_zero_rows_for_an_empty_or_missing_date(lake: Storage, marker: str | None) -> None:
    if marker:
        lake.write(f"inbox/clinic/dt={DAY}/{marker}", b"")
    request = request_for(lake)
    result = run(None, lake, request)
    assert result["images"] == 0
    assert Table(lake, predictions_table("lamps")).read().num_rows == 0
    assert plan_prediction(lake, request).earlier is not None
    assert b"No images had arrived" in lake.read(result["page"])


def it_classifies_nothing_of_an_inbox_that_is_not_complete(spark: Any, lake: Storage) -> None:
    fill_inbox(lake, 2)
    late = request_for(lake) | {"incomplete": True}
    result = run(None, lake, late)
    assert (result["images"], result["incomplete"]) == (0, True)
    assert Table(lake, predictions_table("lamps")).read().num_rows == 0
    assert b"had not all arrived" in lake.read(result["page"])
    complete = run(spark, lake, request_for(lake))
    assert (complete["images"] > 0, complete["incomplete"]) == (True, False)
    assert plan_prediction(lake, late).earlier is not None


def it_takes_rows_away_when_the_inbox_became_empty(spark: Any, lake: Storage) -> None:
    fill_inbox(lake, 2)
    request = request_for(lake)
    run(spark, lake, request)
    for blob in arrived(lake, "clinic", DAY):
        lake.delete(blob.path)
    run(None, lake, request)
    assert Table(lake, predictions_table("lamps")).read().num_rows == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dt": "02.01.2026"}, "dt"),
        ({"dt": "20260102"}, "dt"),
        ({"predicted_at": "2026-01-03T01:00:00"}, "time zone"),
        ({"extra": 1}, "extra"),
        ({"champion": {"package": "x"}}, "package_id"),
    ],
)
def it_refuses_a_wrong_request(lake: Storage, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        plan_prediction(lake, request_for(lake, **changes))


def it_refuses_a_missing_package(lake: Storage) -> None:
    champion = champion_of(lake)
    lake.delete(champion["package"])
    with pytest.raises(ModelError, match="no model package"):
        plan_prediction(lake, request_for(lake, champion=champion))


def it_reads_only_so_much_of_a_large_file(spark: Any, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from darkroom import settings
    from spark_apps.predict import classify_files

    request = request_for(lake)
    model = load_package(lake, request["champion"]["package"])
    data = png(90, 1, size=200)
    lake.write("inbox/clinic/big.png", data)
    monkeypatch.setenv("DARKROOM_MAX_IMAGE_BYTES", "1000")
    settings.get_settings.cache_clear()
    rows = classify_files(lake, model, [("inbox/clinic/big.png", len(data))])
    settings.get_settings.cache_clear()
    assert rows[0]["problem"].startswith("too_large")
    assert rows[0]["image_id"] == hashlib.sha256(data).hexdigest()
