"""Networks that were trained elsewhere: installed by hand, and then classified with like any other champion."""

from __future__ import annotations

import argparse
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.champion_choice import choose_champion
from darkroom.drift import check_rows
from darkroom.errors import InvalidRequest, SourceError
from darkroom.gate import Scores
from darkroom.inference import request_of_feed
from darkroom.model import load_package
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from spark_apps.arrivals import plan_prediction
from spark_apps.predict import classify_files, worker_model
from tests.packages import TRANSFORM, champion_of, write_dataset
from training import commands, install
from training.config import parse_config
from training.data import read_examples, read_split
from training.deciding.scoring import champion_scores
from training.kinds import Job, kind_of
from training.kinds.pretrained import Config, class_names, parsed_names
from training.networks.backbones import BACKBONES

pytestmark = pytest.mark.unit

SIDE = 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = "2026-01-02"
NAMES = [f"n{number:08}_thing{number % 998}" for number in range(1000)]  # two of them share a name, as in ImageNet


def config_of(**changes: Any) -> Config:
    fields: dict[str, Any] = {"name": "mine", "kind": "pretrained", "backbone": "mobilenet"}
    fields |= {"transform": {"width": SIDE, "height": SIDE, "color": "rgb"}}
    found = parse_config({**fields, "weights": "weights/top.h5", "classes": "weights/names.json", **changes})
    assert isinstance(found, Config)
    return found


@pytest.fixture(scope="module")
def network() -> Any:
    """Random weights, with statistics of some images."""
    import keras

    from training.networks.batch_norm import settle_statistics
    from training.networks.layers import pixels_input

    keras.utils.set_random_seed(3)
    model = BACKBONES["mobilenet"].build(pixels_input((SIDE, SIDE, 3)), classes=1000)
    settle_statistics(model, np.random.default_rng(0).integers(0, 255, (64, SIDE, SIDE, 3), dtype=np.uint8))
    return model


@pytest.fixture(scope="module")
def files(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a person gives: weights as keras.applications keeps them, and names as Keras has ImageNet's."""
    import json

    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path_factory.mktemp("weights") / "top.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    names = {str(k): name.split("_") for k, name in enumerate(NAMES)}
    return {"weights/top.h5": path.read_bytes(), "weights/names.json": json.dumps(names).encode()}


@pytest.fixture(scope="module")
def installed(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """A lake where the config was installed by the command."""
    lake = open_storage(str(tmp_path_factory.mktemp("lake")))
    for path, data in files.items():
        lake.write(path, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_LAKE", lake.root)
        get_settings.cache_clear()
        patch.setattr(install, "load_config", lambda name: config_of(name=name))
        parser = argparse.ArgumentParser()
        commands.add_model(parser.add_subparsers())
        words = ["model", "install", "mine", "--model", "photos", "--reason", "a first look"]
        arguments = parser.parse_args(words)
        assert arguments.run(arguments) == 0
        assert arguments.run(arguments) == 0  # a second time changes nothing
    get_settings.cache_clear()
    return lake


def it_is_in_the_history_with_who_and_why(installed: Storage) -> None:
    (entry,) = champions.history(installed, "photos")
    assert entry["details"]["by"]["approval"] == entry["run_id"] == "by-hand"
    assert entry["details"]["by"]["reason"] == "a first look"
    assert entry["details"]["by"]["name"]
    assert entry["details"]["config"] == "mine"


def it_classifies_an_inbox_like_any_champion(installed: Storage, network: Any) -> None:
    samples = get_settings().samples / "imagenet-sample-400.zip"
    if not samples.exists():
        pytest.skip(f"{samples} is not here: a new user has no image sets")
    with zipfile.ZipFile(samples) as archive:
        photos = [name for name in sorted(archive.namelist()) if name.lower().endswith((".jpg", ".jpeg"))][:8]
        for name in photos:
            installed.write(f"inbox/photos/dt={DAY}/{Path(name).name}", archive.read(name))
    choice = choose_champion(installed, "photos", "newest", DAY)
    plan = plan_prediction(installed, request_of_feed("photos", "photos", DAY, "newest", choice, NOW))
    model = worker_model(installed, plan.request.champion)
    rows = classify_files(installed, model, [(blob.path, blob.size) for blob in plan.blobs])
    assert len(rows) == len(photos) == 8
    pixels = np.stack([model.transform.apply(installed.read(row["path"])) for row in rows])
    scores = network.predict(pixels, verbose=0).astype(np.float64)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    assert [row["label"] for row in rows] == [NAMES[k] for k in shares.argmax(1)]
    np.testing.assert_allclose([row["score"] for row in rows], shares.max(1), atol=1e-4)
    np.testing.assert_allclose([row["probabilities"] for row in rows], shares, atol=1e-4)
    assert all(row["embedding"] is None for row in rows)
    judged = check_rows(model.reference, pa.Table.from_pylist(rows))
    assert (judged.state, judged.images, judged.p) == ("no reference", 8, None)


def it_answers_with_the_classes_of_a_dataset_that_it_knows(
    files: dict[str, bytes], network: Any, tmp_path: Path
) -> None:
    lake = open_storage(str(tmp_path))
    names = ["Dark"] + [f"thing_{k}" for k in range(998)] + ["n1_bright"]
    for path, data in {**files, "weights/names.txt": "\n".join(names).encode()}.items():
        lake.write(path, data)
    config = config_of(classes="weights/names.txt")
    found = write_dataset(lake, "lamps", [config.transform], train=4, other=4)
    job = Job(lake, "lamps", read_split(lake, found["dataset"], found["split_id"]), config, 0)
    fitted = kind_of("pretrained").fit(job)
    from training.networks.quantize import predictions

    val = job.examples("val")
    scores = network.predict(val.pixels, verbose=0)[:, [999, 0]].astype(np.float64)  # BRIGHT, DARK
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(predictions(fitted.graph, val.pixels), shares, atol=1e-4)


def it_says_what_to_do_where_a_class_is_not_known(lake: Storage, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        lake.write(path, data)
    config = config_of()
    found = write_dataset(lake, "lamps", [config.transform], train=4, other=4)
    job = Job(lake, "lamps", read_split(lake, found["dataset"], found["split_id"]), config, 0)
    with pytest.raises(InvalidRequest, match=r"0 classes 'BRIGHT'.*transfer.*darkroom model install"):
        kind_of("pretrained").fit(job)


def it_keeps_what_has_to_be_trained_out(lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match=r"small_cnn.*has to be trained.*train_model"):
        install.install(lake, "small_cnn", "photos", "why not", by="me", now=NOW)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        install.install(lake, "small_cnn", "../photos", "why not", by="me", now=NOW)


def it_does_not_bring_back_what_was_withdrawn(files: dict[str, bytes], installed: Storage, tmp_path: Path) -> None:
    lake = open_storage(str(tmp_path))
    entry = champions.history(installed, "photos")[0]
    champions.append(lake, "photos", entry, now=NOW)
    champions.withdraw(lake, "photos", 1, "it was wrong", now=NOW)
    graph = zipfile.ZipFile(io.BytesIO(installed.read(entry["package"]))).read("model.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(install, "load_config", lambda name: config_of(name=name))
        patch.setattr(kind_of("pretrained"), "ready", lambda *_: (tuple(NAMES), graph))
        with pytest.raises(InvalidRequest, match=r"was withdrawn.*cannot be installed again"):
            install.install(lake, "mine", "photos", "again", by="me", now=NOW)


def it_is_compared_with_later_challengers(lake: Storage) -> None:
    found = write_dataset(lake, "lamps", [TRANSFORM], train=4, other=6)
    by_hand = {"dataset": "lamps", "dataset_version": champions.BY_HAND, "split_id": champions.BY_HAND}
    champion = champions.append(lake, "lamps", champion_of(lake, **by_hand), now=NOW)
    split = read_split(lake, "lamps", found["split_id"])
    test = read_examples(lake, "lamps", split, "test", TRANSFORM)
    truth = [test.classes[k] for k in test.truth]
    mine = Scores("mine", test.content_ids, truth, truth, [1.0] * len(truth))
    scores = champion_scores(lake, found, champion, mine)
    assert scores.problem is None
    assert scores.trained_on == frozenset()
    assert list(scores.predicted) == truth


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "0 classes"),
        (b"cat\n", "1 classes"),
        (b"cat\ndog\ncat\n", "'cat'"),
        (b"\xff\xfe", "does not name classes"),
        (b'{"1": ["n1", "cat"], "2": ["n2", "dog"]}', "does not name classes"),
        (b'{"0": 3, "1": 4}', "does not name classes"),
    ],
)
def it_refuses_names_that_are_none(data: bytes, told: str) -> None:
    with pytest.raises(SourceError, match=rf"{told}.*docs/transfer\.md"):
        parsed_names(data, "names.txt")


def it_reads_names_in_both_forms(lake: Storage, files: dict[str, bytes]) -> None:
    assert parsed_names(files["weights/names.json"], "names.json") == NAMES
    lake.write("weights/names.txt", b"dog\n\n cat \n")
    assert class_names(lake, config_of(classes="weights/names.txt")) == ["dog", "cat"]


def it_says_so_where_the_names_do_not_fit_the_weights(lake: Storage, files: dict[str, bytes]) -> None:
    lake.write("weights/top.h5", files["weights/top.h5"])
    lake.write("weights/names.txt", b"dog\ncat\n")
    with pytest.raises(SourceError, match="for 2 classes"):
        kind_of("pretrained").ready(lake, config_of(classes="weights/names.txt"))


def it_can_load_what_it_installed(installed: Storage) -> None:
    champion = champions.current(installed, "photos")
    assert champion is not None
    model = load_package(installed, champion.package, package_id=champion.package_id)
    assert model.classes == tuple(NAMES)
    assert model.reference is None
    assert model.info.threshold is None
