"""From corrected labels to another champion: the next version, its training, and the gate on the new test set.

Dim squares were labelled DARK, and the first model learns so. Feedback says that they are BRIGHT.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.champions import Champion
from darkroom.contract import OUT, TEST, TRAIN, examples_table, raw_blob
from darkroom.feedback import Choice, accept, add, check
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from tests.packages import TRANSFORM, png
from tests.suites.feedback import DATASET, NOW, classified
from tests.suites.prepared import fetched, prepare, splits_of
from training import config, flow
from training.classical.linear_graph import linear_graph
from training.kinds import Fitted, Job, mllib_logistic_regression

pytestmark = pytest.mark.unit

# Its fit is replaced by one that needs no Spark, see ``between_means``.
MEANS = "kind: mllib_logistic_regression\ntransform: {width: 16, height: 16}\n"
GRAY = {"bright": 170, "dim": 115, "dark": 60}
TRUE = {"bright": "BRIGHT", "dim": "BRIGHT", "dark": "DARK"}
KINDS = [*["bright"] * 4, *["dark"] * 3, "dim"]


def squares(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Noisy squares, (kind, bytes): of eight, four bright, three dark and one dim."""
    return [(kind := KINDS[n % len(KINDS)], png(GRAY[kind], seed + n)) for n in range(count)]


def between_means(job: Job) -> Fitted:
    """In place of the kind's own fit: the gray in the middle of both classes' nearest images."""
    part = job.examples(TRAIN)
    means = part.pixels.mean(axis=(1, 2, 3)) / 255
    bright, dark = means[part.truth == 0], means[part.truth == 1]
    border, features = (bright.min() + dark.max()) / 2, int(np.prod(TRANSFORM.shape))
    weights = np.stack([np.full(features, 40 / features), np.full(features, -40 / features)])
    graph = linear_graph(weights, np.array([-40 * border, 40 * border]), TRANSFORM.shape)
    return Fitted(graph, {"border": border})


def with_examples(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """The request, once the pixels of every image of its split are there, as the preprocessing step leaves them."""
    rows = []
    for content_id, row in splits_of(lake, {"request": request}).items():
        if row["split"] != OUT:
            pixels = TRANSFORM.apply(lake.read(raw_blob(DATASET, content_id)))
            height, width, channels = pixels.shape
            rows.append(
                {
                    "content_id": content_id, "pixels": pixels.tobytes(), "height": height, "width": width,
                    "channels": channels, "transform_hash": TRANSFORM.hash,
                }
            )  # fmt: skip
    spec = examples_table(DATASET)
    table = pa.Table.from_pylist(rows, schema=spec.schema)
    Table(lake, spec).commit({"transform_hash": TRANSFORM.hash}, table, {}, mode="replace")
    return request


def retrained(lake: Storage, request: dict[str, Any]) -> dict[str, Any]:
    """What train_model does on a new version: plan, train, evaluate, gate, and promote what passed."""
    plan = flow.plan(lake, with_examples(lake, request), now=NOW)
    results = [flow.train(lake, task) for task in plan["configs"]]
    verdict = flow.decide(lake, flow.evaluate(lake, {"plan": plan, "results": results}))
    if verdict["verdict"] == "promote":
        flow.promote(lake, verdict)
    flow.close_runs(plan["parent_run_id"])
    return verdict


def champion(lake: Storage) -> Champion:
    found = champions.current(lake, DATASET)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def world(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A first champion; then feedback on every dim square of the dataset and on new ones; then a second training."""
    folder = tmp_path_factory.mktemp("retraining")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("DARKROOM_LAKE", str(folder / "lake"))
    patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, folder)}")
    patch.setenv("DARKROOM_TRAIN_CONFIGS", '["means"]')
    get_settings.cache_clear()
    (folder / "configs").mkdir()
    (folder / "configs" / "means.yaml").write_text(MEANS)
    patch.setattr(config, "CONFIG_FOLDER", folder / "configs")
    patch.setattr(mllib_logistic_regression, "fit", between_means)
    patch.setattr(mllib_logistic_regression, "RUNS_IN", "python")
    lake = open_storage(str(folder / "lake"))

    known = squares(240, seed=0)
    paths = [f"{'BRIGHT' if kind == 'bright' else 'DARK'}/p{n}_{n}.png" for n, (kind, _) in enumerate(known)]
    index = fetched(lake, zip(paths, (data for _, data in known), strict=True))
    before = prepare(lake, index)
    first = retrained(lake, before["request"])
    champion_before = champion(lake)

    dim = [hashlib.sha256(data).hexdigest() for kind, data in known if kind == "dim"]
    new = squares(16, seed=5000)
    arrived = [
        (f"p{900 + n}_{n}.png", data, "BRIGHT" if kind == "bright" else "DARK") for n, (kind, data) in enumerate(new)
    ]
    added = classified(lake, arrived)
    for image_id, label in [
        *((one, "BRIGHT") for one in dim),
        *zip(added, (TRUE[kind] for kind, _ in new), strict=True),
    ]:
        add(lake, DATASET, image_id, label, author="ada", at=NOW)
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, Choice(every=True), by="eve", now=NOW)
    after = prepare(lake, index)
    second = retrained(lake, after["request"])
    yield {
        "lake": lake, "before": before, "first": first, "champion": champion_before, "dim": dim, "added": added,
        "after": after, "second": second,
    }  # fmt: skip
    patch.undo()
    get_settings.cache_clear()


def it_learns_the_wrong_labels_first(world: dict[str, Any]) -> None:
    assert world["first"]["verdict"] == "promote", world["first"]["reasons"]
    assert world["first"]["figures"]["value"] == 1.0  # as the labels were then
    assert world["champion"].version == "1"


def it_keeps_every_assignment_and_takes_the_new_images_in(world: dict[str, Any]) -> None:
    before, after = (splits_of(world["lake"], world[name]) for name in ("before", "after"))
    assert world["after"]["feedback"] == {"corrected": len(world["dim"]), "added": 16, "table_version": 1}
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    assert set(after) - set(before) == set(world["added"])
    corrected = [key for key in world["dim"] if before[key]["split"] == TEST]
    assert corrected
    assert {(before[key]["label"], after[key]["label"]) for key in corrected} == {("DARK", "BRIGHT")}


def it_trains_again_on_the_corrected_labels(world: dict[str, Any]) -> None:
    assert world["second"]["challenger"]["run_id"] != world["first"]["challenger"]["run_id"]
    changes = world["second"]["changes"]["data"]
    assert (changes["labels_changed"], changes["images_added"]) == (len(world["dim"]), 16)


def it_scores_the_champion_anew_on_the_new_test_set(world: dict[str, Any]) -> None:
    first, second = (world[name]["figures"] for name in ("first", "second"))
    assert first["test_set"] != second["test_set"]
    test = [row for row in splits_of(world["lake"], world["after"]).values() if row["split"] == TEST]
    assert second["images"] == len(test)
    bright = [row["content_id"] for row in test if row["label"] == "BRIGHT"]
    new_dim = [key for number, key in enumerate(world["added"]) if KINDS[number % len(KINDS)] == "dim"]
    missed = set(bright) & {*world["dim"], *new_dim}
    # The champion calls every dim square DARK, as it was taught.
    assert second["champion_value"] == pytest.approx((1 + 1 - len(missed) / len(bright)) / 2)
    assert second["value"] == 1.0


def it_promotes_what_learned_the_correction(world: dict[str, Any]) -> None:
    assert world["second"]["verdict"] == "promote", world["second"]["reasons"]
    now = champion(world["lake"])
    assert (now.version, now.split_id) == ("2", world["after"]["request"]["split_id"])
    assert now.dataset_version == world["after"]["request"]["version"] != world["champion"].dataset_version
