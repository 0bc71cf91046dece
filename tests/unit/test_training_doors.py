"""Every kind: its package says the same through every door."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.features import FeatureSet
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from darkroom.transform import ImageTransform
from tests.packages import CLASSES, png, write_dataset, write_features
from tests.suites.doors import check_doors
from training import tracking
from training.config import parse_config
from training.data import read_split
from training.experiments.fitting import fit_package
from training.kinds import Job, known_kinds
from training.registry import log_package

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("spark")]  # which MLlib's kinds go on with

SMALL, LARGE = ImageTransform(width=16, height=16), ImageTransform(width=32, height=32)
FEATURES = [{"kind": "lbp", "grid": 1}, {"kind": "pixels", "side": 4}]
NETWORK = {"epochs": 1, "batch_size": 16}
CNN = {**NETWORK, "kind": "small_cnn", "model": {"filters": [8], "first_stride": 1}}
SVM = {"kind": "svm", "features": FEATURES, "cost": [1.0]}
WEIGHTS = "weights/{}.weights.h5"
BACKBONE = {"backbone": "mobilenet", "transform": LARGE.model_dump(mode="json"), "weights": WEIGHTS.format("mine")}

# A small config of every kind, by kind and what is special; pyfunc has tests/integration/test_pyfunc.py, for its own
# environment is built there.
CASES: dict[str, dict[str, Any]] = {
    "blend": {"members": [CNN, SVM]},
    "gradient_boosting": {"features": FEATURES, "leaves": [4], "rounds": 10},
    "incremental": {"features": FEATURES},
    "logistic_regression": {"features": FEATURES},
    "mllib_decision_tree": {"depth": [3], "leaf_images": 1},
    "mllib_gbt": {"rounds": [2], "depth": 2, "leaf_images": 1},
    "mllib_linear_regression": {"regularization": [0.1]},
    "mllib_linear_svc": {"regularization": [0.1], "max_iterations": 5},
    "mllib_logistic_regression": {"features": FEATURES, "regularization": [0.1], "max_iterations": 5},
    "mllib_random_forest": {"depth": [3], "trees": 3},
    "pretrained": {**BACKBONE, "weights": WEIGHTS.format("top"), "classes": "weights/names.txt"},
    "random_forest": {"features": FEATURES, "trees": 10},
    "resnet_small": {**NETWORK, "model": {"width": 4, "most_channels": 8}},
    "small_cnn": CNN,
    "small_cnn int8": {**CNN, "quantize": "int8"},
    "svm": SVM,
    "transfer": {**BACKBONE, **NETWORK, "head": {"epochs": 1}, "fine_tuning": {"from_layer": "conv_pw_13"}},
    "transfer_head": {**BACKBONE, "head": {"kind": "svm", "cost": [1.0]}},
}


@pytest.fixture(scope="module")
def lake(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Images, examples and features, an MLflow store, and weights of a backbone."""
    import keras

    from training.networks.backbones import BACKBONES
    from training.networks.batch_norm import settle_statistics
    from training.networks.layers import pixels_input

    folder = tmp_path_factory.mktemp("doors")
    found = open_storage(str(folder / "lake"))
    write_dataset(found, "lamps", [SMALL, LARGE])
    write_features(found, "lamps", SMALL, FeatureSet.model_validate(FEATURES))
    keras.utils.set_random_seed(0)
    noise = np.random.default_rng(0).integers(0, 255, (64, *LARGE.shape), dtype=np.uint8)
    for name, more in {"top": {"classes": len(CLASSES)}, "mine": {}}.items():
        network = BACKBONES["mobilenet"].build(pixels_input(LARGE.shape), **more)
        settle_statistics(network, noise)
        network.save_weights(folder / "found.weights.h5")
        found.write(WEIGHTS.format(name), (folder / "found.weights.h5").read_bytes())
    found.write("weights/names.txt", "\n".join(CLASSES).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DARKROOM_LAKE", found.root)
        patch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, folder)}")
        get_settings.cache_clear()
        yield found
    get_settings.cache_clear()


def it_has_a_case_of_every_kind() -> None:
    assert {name.split()[0] for name in CASES} | {"pyfunc"} == set(known_kinds())


@pytest.mark.parametrize("name", CASES)
def it_says_the_same_through_every_door(lake: Storage, name: str) -> None:
    fields = {"transform": SMALL.model_dump(mode="json"), "kind": name.split()[0], **CASES[name]}
    config = parse_config({"name": "mine", **fields})
    task = {"name": "mine", "model": "lamps", "dataset": "lamps", "version": "v1", "split_id": "s1", "key": name}
    split = read_split(lake, "lamps", "s1")
    packaged = fit_package({**task, "seed": 0}, Job(lake, "lamps", split, config, 0))
    assert packaged is not None
    client = tracking.open_client()
    run = tracking.start_run(client, tracking.open_experiment(client, "doors"), name, {})
    with tracking.active(run):
        model_id = log_package(lake, packaged.built.path, packaged.built.package_id)
    images = [png(60 + 6 * number, number) for number in range(20)]
    said = check_doors(lake, packaged.built.path, model_id, images)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    assert len(np.unique(said[:, 0])) > 1
