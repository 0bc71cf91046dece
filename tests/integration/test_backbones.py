"""Every backbone takes weights as keras.applications keeps them, and says through ONNX what Keras' own network says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.graph_check import check_graph
from training.networks.backbones import BACKBONES

pytestmark = pytest.mark.integration

SIDE = 64


def original(name: str, pixels: np.ndarray) -> tuple[Any, np.ndarray]:
    """The network of keras.applications with random weights, and its input: pixels as its own documentation says."""
    import sys

    import keras

    from training.networks.batch_norm import settle_statistics

    backbone = BACKBONES[name]
    application = getattr(keras.applications, backbone.application)
    options = {} if backbone.scales_itself is None else {"include_preprocessing": backbone.scales_itself}
    keras.utils.set_random_seed(0)
    network = application(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), **options)
    rng = np.random.default_rng(0)
    for layer in network.layers:  # trained biases are not zero, which matters to the exporter
        if getattr(layer, "use_bias", False):
            layer.set_weights([rng.normal(0, 0.05, one.shape) if one.ndim == 1 else one for one in layer.get_weights()])
    values = pixels.astype(np.float32)
    module = sys.modules[application.__module__]
    prepared = values / 127.5 - 1 if backbone.scales_itself is False else module.preprocess_input(values)
    settle_statistics(network, prepared, batch_size=16)
    return network, prepared


@pytest.mark.parametrize("name", BACKBONES)
def it_is_keras_own_network_in_onnx(name: str, tmp_path: Path) -> None:
    import h5py
    import onnxruntime
    from keras.src.legacy.saving import legacy_h5_format

    from training.networks.keras_engine import to_onnx
    from training.networks.layers import classifier, pixels_input
    from training.networks.weights import fill

    pixels = np.random.default_rng(1).integers(0, 256, (32, SIDE, SIDE, 3), dtype=np.uint8)
    theirs, prepared = original(name, pixels)
    with h5py.File(tmp_path / "notop.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, theirs)
    inputs = pixels_input((SIDE, SIDE, 3))
    backbone = BACKBONES[name].build(inputs)
    fill(backbone, tmp_path / "notop.h5", "notop.h5", name)
    assert BACKBONES[name].top in [layer.name for layer in backbone.layers]
    model = classifier(inputs, backbone.output, 3, 0.0, 0)
    expected = np.asarray(theirs(prepared, training=False)).mean(axis=(1, 2))
    graph = to_onnx(model)
    check_graph(graph)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    probabilities, features, _ = session.run(None, {"pixels": pixels})
    largest = np.abs(expected).max()
    assert largest > 1e-3
    np.testing.assert_allclose(features, expected, atol=3e-4 * largest)
    np.testing.assert_allclose(probabilities, np.asarray(model(pixels, training=False)[0]), atol=1e-4)
