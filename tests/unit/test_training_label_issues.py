"""Labels that are probably wrong: most of those that were flipped on purpose are found, and few others."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import splits_table
from darkroom.tables import Table
from tests.suites.training import World, world
from training import tracking
from training.experiments.label_issues import find_label_issues, issues_csv, issues_page

pytestmark = pytest.mark.unit

__all__ = ["world"]  # a fixture
TASK = {"dataset": "lamps", "name": "mean", "split_id": "s1"}


def predictions(truth: list[str], probabilities: Any, **columns: Any) -> pa.Table:
    ids = [f"{number:064x}" for number in range(len(truth))]
    rows = {
        "content_id": ids,
        "path": [f"{label}/{number}.png" for number, label in enumerate(truth)],
        "fold": [1] * len(truth),
        "truth": truth,
        "probabilities": [list(map(float, row)) for row in probabilities],
    }
    return pa.table(rows | columns)


def noisy(images: int, flipped: int, classes: tuple[str, ...], seed: int = 0) -> tuple[pa.Table, set[str]]:
    """Predictions of a model that is mostly right and sometimes unsure; the first ``flipped`` labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), images)
    margins = rng.normal(0, 1, (images, len(classes)))
    margins[np.arange(images), truth] += 4
    shares = np.exp(margins) / np.exp(margins).sum(1, keepdims=True)
    given = truth.copy()
    given[:flipped] = (truth[:flipped] + 1) % len(classes)
    table = predictions([classes[k] for k in given], shares)
    return table, set(table["content_id"].to_pylist()[:flipped])


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def it_finds_most_flipped_labels_and_few_others(classes: tuple[str, ...]) -> None:
    table, flipped = noisy(600, 30, classes)
    found = find_label_issues(table, classes)
    named = set(found.filter(found["issue"])["content_id"].to_pylist())
    assert len(named & flipped) >= 27
    assert len(named - flipped) <= 12
    first = found.slice(0, 20).to_pylist()
    assert all(row["issue"] and row["suggested"] != row["given"] for row in first)
    assert len({row["content_id"] for row in first} & flipped) >= 19
    assert found.num_rows == 600


def it_names_nothing_where_the_model_agrees() -> None:
    table, _ = noisy(300, 0, ("a", "b"))
    shares = np.where(np.array(table["truth"].to_pylist())[:, None] == np.array(["a", "b"]), 0.9, 0.1)
    found = find_label_issues(predictions(table["truth"].to_pylist(), shares), ("a", "b"))
    assert found["issue"].to_pylist() == [False] * 300
    assert "No label stands out" in issues_page(TASK, ("a", "b"), found, {})


def it_writes_feedback_that_a_person_has_to_complete() -> None:
    table, _ = noisy(300, 20, ("a", "=b"))
    found = find_label_issues(table, ("a", "=b"))
    issues = found.filter(found["issue"])
    rows = list(csv.DictReader(io.StringIO(issues_csv(issues, ("a", "=b")))))
    assert len(rows) == issues.num_rows
    assert {(row["author"], row["at"]) for row in rows} == {("", "")}
    assert rows[0]["image_id"] == issues["content_id"][0].as_py()
    assert rows[0]["label"] != rows[0]["given"]
    assert float(rows[0]["p_a"]) + float(rows[0]["p_=b"]) == pytest.approx(1, abs=1e-3)


def it_finds_the_flipped_labels_of_a_training_and_changes_none(world: World) -> None:
    table = Table(world.lake, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pandas()
    flipped = set(rows["content_id"].iloc[::20])  # 7 of 140
    other = {"BRIGHT": "DARK", "DARK": "BRIGHT"}
    rows["label"] = [
        other[label] if key in flipped else label for key, label in zip(rows["content_id"], rows["label"], strict=True)
    ]
    table.commit({"split_id": "s1"}, pa.Table.from_pandas(rows, table.spec.schema, preserve_index=False), {})
    world.config("mean", "evaluate: kfold\nsharpness: 0.5")
    found = world.train("mean")
    told = found["kfold"]["label_issues"]
    issues = list(csv.DictReader(io.StringIO(world.lake.read(told["table"]).decode())))
    named = {row["image_id"] for row in issues}
    assert len(named & flipped) >= 6
    assert len(named - flipped) <= 2
    assert told["count"] == len(issues)
    page = world.lake.read(told["page"]).decode()
    assert page.count("data:image/jpeg") == len(issues)
    assert "feedback/lamps/" in page
    assert world.lake.read(found["page"]).decode().count("label-issues.html") == 1
    assert table.read({"split_id": "s1"}).to_pandas()["label"].tolist() == rows["label"].tolist()
    names = {file.path for file in tracking.open_client().list_artifacts(found["run_id"])}
    assert {"kfold.html", "label-issues.html"} <= names
