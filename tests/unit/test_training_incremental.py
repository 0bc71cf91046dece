"""The incremental learner: parts give what the whole gives, its state is plain arrays, and it goes on from there."""

from __future__ import annotations

import io
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.contract import splits_table
from darkroom.errors import InvalidRequest, ModelError
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.packages import CLASSES, TRANSFORM, write_dataset, write_features
from training.classical.graphs import graph_probabilities
from training.classical.incremental_state import (
    State,
    pack_state,
    partial_fit,
    probabilities,
    start,
    state_graph,
    unpack_state,
)
from training.config import parse_config
from training.data import read_split
from training.kinds import Fitted, Job
from training.kinds.incremental import fit

pytestmark = pytest.mark.unit

ABC = ("a", "b", "c")


def drawn(classes: int, count: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors with values of very different size, one constant, one that is nothing for a long time."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    values = rng.normal(size=(count, 20)) + 3 * np.eye(classes, 20)[truth]
    values[:, 5] = 50_000 + values[:, 5]
    values[:, 6] = 3.5
    values[: count // 2, 7] = 0
    return values.astype(np.float32), truth, rng.uniform(0.2, 2, count)


def learned(classes: int, *sizes: int) -> State:
    values, truth, weight = drawn(classes)
    state = start(ABC[:classes], 20, 1e-4)
    begin = 0
    for size in sizes:
        part = slice(begin, begin + size)
        state = partial_fit(state, values[part], truth[part], weight[part])
        begin += size
    return state


@pytest.mark.parametrize("classes", [2, 3])
def it_learns_the_same_in_parts_as_at_once(classes: int) -> None:
    whole = learned(classes, 1500)
    values, truth, _ = drawn(classes, 300, seed=1)
    for sizes in ((700, 800), (1, 1499), (1030, 3, 467)):
        parts = learned(classes, *sizes)
        for one in fields(State)[1:]:
            np.testing.assert_allclose(getattr(parts, one.name), getattr(whole, one.name), rtol=1e-7, atol=1e-9)
    assert (probabilities(whole, values).argmax(1) == truth).mean() > 0.85
    assert int(whole.count) == 1500


def it_leaves_the_state_it_was_given_as_it_was() -> None:
    state = learned(2, 100)
    before = {one.name: getattr(state, one.name).copy() for one in fields(State)}
    values, truth, weight = drawn(2)
    partial_fit(state, values, truth, weight)
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(state, name), array)


@pytest.mark.parametrize("classes", [2, 3])
def it_says_in_a_graph_what_scikit_learn_says(classes: int) -> None:
    state = learned(classes, 600)
    values, _, _ = drawn(classes, 200, seed=2)
    edges = np.vstack([values, np.zeros((1, 20), np.float32)])
    np.testing.assert_allclose(graph_probabilities(state_graph(state), edges), probabilities(state, edges), atol=1e-6)


def it_keeps_its_state_as_plain_arrays() -> None:
    state, seen = learned(3, 50), np.array([1, 2**63], np.uint64)
    options = TRANSFORM.model_dump(mode="json")
    data = pack_state(state, b"features", seen, options)
    again, features, marks, transform = unpack_state(data)
    assert transform == options
    assert features == b"features"
    assert marks.tolist() == seen.tolist()
    for one in fields(State):
        np.testing.assert_array_equal(getattr(again, one.name), getattr(state, one.name))
    assert pack_state(again, features, marks, transform) == data


def evil() -> bytes:
    out = io.BytesIO()
    np.savez(out, **{one.name: np.array([print], dtype=object) for one in fields(State)})
    return out.getvalue()


def cut() -> bytes:
    state = learned(2, 50)
    return pack_state(replace(state, weights=state.weights[:, :-1]), b"", np.empty(0, np.uint64), {})


@pytest.mark.parametrize("data", [b"", b"no zip", evil(), cut()])
def it_refuses_what_is_no_state(data: bytes) -> None:
    with pytest.raises(ModelError, match="state of an incremental learner"):
        unpack_state(data)


def config(**changes: Any) -> Any:
    fields_of = {"transform": TRANSFORM.model_dump(mode="json"), "features": ["lbp", {"kind": "pixels", "side": 4}]}
    return parse_config({"name": "stream", "kind": "incremental", **fields_of, **changes})


@pytest.fixture
def dataset(lake: Storage) -> Storage:
    write_dataset(lake, "lamps", [TRANSFORM])
    write_features(lake, "lamps", TRANSFORM, config().features)
    return lake


def trained(lake: Storage, split: pa.Table, **changes: Any) -> Fitted:
    return fit(Job(lake, "lamps", split, config(**changes), 0))


def some_of_train(split: pa.Table, least: str, most: str) -> pa.Table:
    """Val, and the train images whose content_id lies between two."""
    rows = [row for row in split.to_pylist() if row["split"] != "train" or least <= row["content_id"] < most]
    return pa.Table.from_pylist(rows, schema=split.schema)


def it_resumes_with_new_images_where_it_ended(dataset: Storage) -> None:
    split = read_split(dataset, "lamps", "s1")
    first = trained(dataset, some_of_train(split, "0", "8"))
    assert first.state is not None
    dataset.write("states/a.npz", first.state)
    second = trained(dataset, split, resume="states/a.npz")
    whole = trained(dataset, split)
    assert second.facts["images_seen"] == whole.facts["images_seen"] == 60 > first.facts["images_seen"]
    val = Job(dataset, "lamps", split, config(), 0).features("val").values
    said = [graph_probabilities(one.graph, val) for one in (second, whole, first)]
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)
    assert np.abs(said[0] - said[2]).max() > 1e-3
    assert second.history[0]["val_balanced_accuracy"] > 0.9
    dataset.write("states/b.npz", second.state or b"")
    third = trained(dataset, split, resume="states/b.npz")
    assert third.graph == second.graph


def it_refuses_a_state_that_does_not_fit(dataset: Storage) -> None:
    split = read_split(dataset, "lamps", "s1")
    with pytest.raises(InvalidRequest, match="not on"):
        trained(dataset, split, resume="states/none.npz")
    dataset.write("states/a.npz", trained(dataset, split).state or b"")
    with pytest.raises(InvalidRequest, match="other penalty"):
        trained(dataset, split, resume="states/a.npz", penalty=0.5)
    with pytest.raises(InvalidRequest, match="other transform"):
        trained(dataset, split, resume="states/a.npz", transform=TRANSFORM.model_dump(mode="json") | {"resize": "crop"})
    with pytest.raises(InvalidRequest, match="other features"):
        trained(dataset, split, resume="states/a.npz", features=["lbp"])
    held_out = [row | {"split": "test"} if row["content_id"] < "8" else row for row in split.to_pylist()]
    with pytest.raises(InvalidRequest, match=r"was trained on \d+ of the \d+ images in val and test"):
        trained(dataset, pa.Table.from_pylist(held_out, schema=split.schema), resume="states/a.npz")
    table = Table(dataset, splits_table("lamps"))
    rows = table.read({"split_id": "s1"}).to_pylist()
    renamed = [row | {"label": row["label"].replace(CLASSES[0], "GLARE")} for row in rows]
    table.commit({"split_id": "s1"}, pa.Table.from_pylist(renamed, schema=table.spec.schema), {})
    with pytest.raises(InvalidRequest, match="other classes"):
        trained(dataset, read_split(dataset, "lamps", "s1"), resume="states/a.npz")
