"""Model packages: equal content is an equal file, damage is noticed, and nothing in one can run code."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from darkroom.errors import ModelError
from darkroom.features import Feature
from darkroom.model import load_package, write_package
from darkroom.package import FEATURES, GRAPH, MANIFEST, pack
from darkroom.storage import Storage
from tests.packages import TRANSFORM, bright_or_dark, on_features, package_info, png
from training.classical.linear_graph import linear_graph

pytestmark = pytest.mark.unit


def pixels(*values: int) -> np.ndarray:
    return np.stack([np.full(TRANSFORM.shape, value, np.uint8) for value in values])


def it_predicts_from_a_path_and_from_bytes(lake: Storage) -> None:
    path, package_id = write_package(lake, "lamps", package_info(), bright_or_dark())
    assert path == f"packages/lamps/{package_id}.zip"
    for source in (path, lake.read(path)):
        model = load_package(lake, source)
        probabilities = model.predict(pixels(250, 5))
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
        labels, score = model.labels(probabilities)
        assert labels == ["BRIGHT", "DARK"]
        np.testing.assert_allclose(score, probabilities.max(1))
        assert model.transform == TRANSFORM
        assert model.package_id == package_id


def it_predicts_the_same_for_any_number_of_images_and_threads(lake: Storage) -> None:
    many = np.random.default_rng(0).integers(0, 256, (75, *TRANSFORM.shape)).astype(np.uint8)
    data = pack(package_info(), bright_or_dark())
    model = load_package(lake, data)
    whole = model.predict(many)
    assert whole.shape == (75, 2)
    np.testing.assert_array_equal(whole, np.concatenate([model.predict(one[None]) for one in many]))
    np.testing.assert_allclose(whole, load_package(lake, data, threads=2).predict(many), atol=1e-6)
    assert model.predict(many[:0]).shape == (0, 2)


def it_calls_positive_from_the_threshold_on(lake: Storage) -> None:
    probabilities = np.array([[0.75, 0.25], [0.25, 0.75]], dtype=np.float32)
    for threshold, expected in ((0.25, ["DARK", "DARK"]), (0.8, ["BRIGHT", "BRIGHT"])):
        model = load_package(lake, pack(package_info(threshold=threshold), bright_or_dark()))
        labels, score = model.labels(probabilities)
        assert labels == expected
        assert score.tolist() == [probabilities[k, model.classes.index(label)] for k, label in enumerate(labels)]


def it_calibrates_every_answer(lake: Storage) -> None:
    plain, sure = (
        load_package(lake, pack(package_info(temperature=temperature), bright_or_dark())) for temperature in (1.0, 0.5)
    )
    pixels = np.random.default_rng(0).integers(90, 160, (5, *TRANSFORM.shape), dtype=np.uint8)
    before, after = plain.predict(pixels), sure.predict(pixels)
    np.testing.assert_allclose(after, before**2 / (before**2).sum(1, keepdims=True), rtol=1e-4)
    assert after.dtype == np.float32
    np.testing.assert_array_equal(sure.predict_with_features(pixels)[0], after)


def it_reads_packages_that_know_no_temperature(lake: Storage) -> None:
    with zipfile.ZipFile(io.BytesIO(pack(package_info(), bright_or_dark()))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members["package.json"])
    del content["temperature"], content["notes"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in {**members, "package.json": json.dumps(content).encode()}.items():
            archive.writestr(name, data)
    assert load_package(lake, out.getvalue()).info.temperature == 1.0


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def it_refuses_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        package_info(temperature=temperature)


def it_takes_the_most_probable_of_many_classes(lake: Storage) -> None:
    info = package_info(classes=("a", "b", "c"), positive_class=None, threshold=None)
    model = load_package(lake, pack(info, bright_or_dark(classes=3)))
    assert model.labels(np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]))[0] == ["b", "c"]


def it_makes_equal_files_of_equal_content(lake: Storage) -> None:
    one, two = (pack(package_info(), bright_or_dark()) for _ in range(2))
    assert one == two
    assert pack(package_info(seed=1), bright_or_dark()) != one


def it_refuses_pixels_of_another_shape_or_type(lake: Storage) -> None:
    model = load_package(lake, pack(package_info(), bright_or_dark()))
    for wrong in (
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((1, *TRANSFORM.shape)),
        np.zeros(TRANSFORM.shape, np.uint8),
    ):
        with pytest.raises(ModelError, match="Expected uint8"):
            model.predict(wrong)
    with pytest.raises(ModelError, match="no embeddings"):
        model.embed(pixels(1))


def it_notices_a_damaged_or_missing_package(lake: Storage) -> None:
    path, _ = write_package(lake, "lamps", package_info(), bright_or_dark())
    data = bytearray(lake.read(path))
    data[len(data) // 2] ^= 1
    lake.write(path, bytes(data))
    with pytest.raises(ModelError, match="damaged"):
        load_package(lake, path)
    with pytest.raises(ModelError, match="no model package"):
        load_package(lake, "packages/lamps/" + "0" * 64 + ".zip")
    with pytest.raises(ModelError, match="damaged"):
        load_package(lake, pack(package_info(), bright_or_dark()), package_id="0" * 64)


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    return out.getvalue()


def manifest(**changes: Any) -> bytes:
    return json.dumps(package_info().model_dump(mode="json") | changes).encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no readable zip"),
        (b"no zip at all", "no readable zip"),
        (archive({MANIFEST: manifest()}), "nothing else"),
        (archive({MANIFEST: manifest(), GRAPH: bright_or_dark(), "model.pkl": b"cos\nsystem"}), "nothing else"),
        (archive({MANIFEST: manifest(), "../model.onnx": bright_or_dark()}), "nothing else"),
        (archive({MANIFEST: b"{", GRAPH: bright_or_dark()}), "cannot be read"),
        (archive({MANIFEST: b"[]", GRAPH: bright_or_dark()}), "cannot be read"),
        (archive({MANIFEST: manifest(format_version=2), GRAPH: bright_or_dark()}), "format version 2"),
        (archive({MANIFEST: manifest(surprise=1), GRAPH: bright_or_dark()}), "not valid"),
        (archive({MANIFEST: manifest(classes=["DARK", "BRIGHT"]), GRAPH: bright_or_dark()}), "not sorted"),
        (archive({MANIFEST: manifest(threshold=None), GRAPH: bright_or_dark()}), "threshold"),
        (archive({MANIFEST: manifest(positive_class="RED"), GRAPH: bright_or_dark()}), "positive_class"),
        (archive({MANIFEST: manifest(input_shape=[9, 9, 1]), GRAPH: bright_or_dark()}), "its transform makes"),
        (archive({MANIFEST: manifest(transform={"width": 0}), GRAPH: bright_or_dark()}), "transform that is not valid"),
        (archive({MANIFEST: manifest(), GRAPH: b"\x80\x04pickle"}), "model"),
        (archive({MANIFEST: manifest(), GRAPH: bright_or_dark(classes=3)}), "Expected .1, 2."),
        (archive({MANIFEST: manifest(), GRAPH: bright_or_dark((8, 8, 1))}), "own input shape"),
    ],
)
def it_refuses_what_is_no_package(lake: Storage, data: bytes, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        load_package(lake, data)


def changed_graph(change: Any) -> bytes:
    model = onnx.load_model_from_string(bright_or_dark())
    change(model)
    return bytes(model.SerializeToString())


def external_weight(model: onnx.ModelProto) -> None:
    tensor = next(one for one in model.graph.initializer if one.name.startswith("weights"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def foreign_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    model.graph.node.append(helper.make_node("PyOp", ["pixels"], ["run"], domain="ai.onnx.contrib"))


def hidden_operator(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Evil", [], ["y"], domain="evil")], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["pixels"], ["z"], then_branch=inner, else_branch=inner))


def own_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (external_weight, "another file"),
        (foreign_operator, "ai.onnx.contrib.PyOp"),
        (hidden_operator, "evil.Evil"),
        (own_function, "functions of its own"),
    ],
)
def it_refuses_graphs_that_reach_outside(lake: Storage, change: Any, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        load_package(lake, pack(package_info(), changed_graph(change)))


def it_refuses_a_model_that_gives_no_numbers(lake: Storage) -> None:
    def poison(model: onnx.ModelProto) -> None:
        tensor = next(one for one in model.graph.initializer if one.name.startswith("offset"))
        tensor.raw_data = np.array([np.nan, 0.0]).tobytes()

    with pytest.raises(ModelError, match="finite"):
        write_package(lake, "lamps", package_info(), changed_graph(poison))
    assert list(lake.list("packages")) == []


def it_classifies_the_bytes_of_an_image_through_its_own_transform(lake: Storage) -> None:
    model = load_package(lake, pack(package_info(), bright_or_dark()))
    seen = np.stack([model.transform.apply(png(value, 1)) for value in (200, 40)])
    assert model.labels(model.predict(seen))[0] == ["BRIGHT", "DARK"]


def packed_on_features() -> bytes:
    info, graph, features = on_features()
    return pack(info, graph, features=features)


def it_computes_the_features_that_its_graph_takes(lake: Storage) -> None:
    data = packed_on_features()
    model = load_package(lake, data)
    said = model.predict(pixels(250, 5))
    assert model.labels(said)[0] == ["BRIGHT", "DARK"]
    margin = 6 * (4 * 250 / 255) - 12
    np.testing.assert_allclose(said[0, 0], 1 / (1 + np.exp(-margin)), rtol=1e-5)
    many = np.random.default_rng(0).integers(0, 256, (40, *TRANSFORM.shape)).astype(np.uint8)
    np.testing.assert_array_equal(model.predict(many)[7:8], model.predict(many[7:8]))
    assert model.predict(many[:0]).shape == (0, 2)
    assert packed_on_features() == data


def it_refuses_features_that_do_not_fit_the_package(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed_on_features()
    with zipfile.ZipFile(io.BytesIO(data)) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    plain = package_info().model_dump_json().encode()
    for changed, told in (
        ({FEATURES: b"no zip"}, "cannot be read"),
        ({MANIFEST: plain}, "other features than its"),
        ({GRAPH: bright_or_dark()}, "Expected .'tensor.float.'. or"),
        ({GRAPH: linear_graph(np.zeros((2, 5)), np.zeros(2), (5,))}, "own input shape"),
    ):
        with pytest.raises(ModelError, match=told):
            load_package(lake, archive(members | changed))
    with pytest.raises(ModelError, match="holds no features"):
        load_package(lake, archive({MANIFEST: members[MANIFEST], GRAPH: members[GRAPH]}))
    monkeypatch.setattr(Feature, "digest", "0" * 16)
    with pytest.raises(ModelError, match="gives other values here than where it was trained"):
        load_package(lake, data)
