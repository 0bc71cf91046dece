"""Classical features: each kind alone, and several side by side."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydantic import ValidationError

from darkroom.errors import DataError, InvalidRequest, ModelError
from darkroom.features import FeatureSet, FittedFeatures, feature_kinds, parse_feature
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.transform import ImageTransform

pytestmark = pytest.mark.unit

KINDS = feature_kinds()
FEW_WORDS = {"kind": "sift", "words": 8}


def feature_set(*features: object) -> FeatureSet:
    return FeatureSet.model_validate(list(features))


@pytest.fixture(scope="module")
def gray() -> np.ndarray:
    """uint8[6, 64, 48, 1] of radiographs."""
    transform = ImageTransform(width=48, height=64)
    planned = [one for one in phantom_plan(PhantomSource(images=40, seed=3)) if one.quirk is None][:6]
    return np.stack([transform.apply(draw(PhantomSource(images=40, seed=3), one)) for one in planned])


@pytest.fixture(scope="module")
def color(gray: np.ndarray) -> np.ndarray:
    """uint8[6, 64, 48, 3], whose channels differ."""
    return np.concatenate([gray, gray[:, ::-1], 255 - gray], axis=3)


def it_finds_every_kind_by_its_name() -> None:
    assert KINDS == ["color_histogram", "gabor", "haralick", "hog", "lbp", "pixels", "sift"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", ["gray", "color"])
def it_makes_a_vector_of_one_length_of_any_image(kind: str, images: str, request: pytest.FixtureRequest) -> None:
    pixels = request.getfixturevalue(images)
    wanted = feature_set(FEW_WORDS if kind == "sift" else kind)
    fitted = wanted.fit(wanted.extract(pixels))
    vectors = fitted.apply(pixels)
    assert vectors.dtype == np.float32
    assert vectors.shape == (6, fitted.length)
    assert len(set(fitted.names())) == fitted.length
    assert np.isfinite(vectors).all()
    assert (vectors[0] != vectors[1]).any()
    flat = fitted.apply(np.full_like(pixels[:1], 90))
    assert flat.shape == (1, fitted.length)
    assert np.isfinite(flat).all()
    assert fitted.apply(pixels[:0]).shape == (0, fitted.length)


@pytest.mark.parametrize("kind", KINDS)
def it_gives_an_image_the_same_vector_in_any_company(kind: str, gray: np.ndarray) -> None:
    wanted = feature_set(FEW_WORDS if kind == "sift" else kind)
    raws = wanted.extract(gray)
    fitted = wanted.fit(raws, seed=1)
    whole = fitted.apply(gray)
    assert (fitted.apply(gray[2:3]) == whole[2:3]).all()
    assert (wanted.fit(wanted.extract(gray), seed=1).apply(gray) == whole).all()
    feature = wanted.features[0]
    kept = [feature.from_bytes(feature.to_bytes(raw)) for raw in raws[0]]
    assert (fitted.encode([kept]) == whole).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (8, 8, 1), (5, 300, 3)])
def it_makes_a_vector_of_odd_shapes_or_says_what_is_too_small(kind: str, shape: tuple[int, int, int]) -> None:
    wanted = feature_set(kind)
    random = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
    if least_side(kind) > min(shape[:2]):
        with pytest.raises(InvalidRequest, match=f"{kind}.*{shape[1]} x {shape[0]} pixels.*Choose a larger width"):
            wanted.check(shape)
        with pytest.raises(InvalidRequest, match=kind):
            wanted.extract(random)
    else:
        wanted.check(shape)
        assert np.isfinite(wanted.extract(random)[0][0]).all()


def least_side(kind: str) -> int:
    return {"color_histogram": 2, "gabor": 8, "haralick": 5, "hog": 1, "lbp": 4, "pixels": 1, "sift": 1}[kind]


def it_lays_eight_cells_over_an_image_of_any_size() -> None:
    hog = parse_feature("hog")
    assert {hog.extract(np.zeros((side, side, 1), np.uint8)).size for side in (1, 8, 32, 64, 400)} == {7 * 7 * 36}


def it_enlarges_small_images_within_bounds() -> None:
    assert parse_feature("hog").extract(np.zeros((1, 400, 1), np.uint8)).shape == (7 * (4096 // 8 - 1) * 36,)


def it_puts_features_side_by_side(gray: np.ndarray) -> None:
    both = feature_set("hog", {"kind": "lbp", "radius": 2}, FEW_WORDS)
    fitted = both.fit(both.extract(gray))
    single = [one.fit(one.extract(gray)).apply(gray) for one in map(feature_set, both.features)]
    assert (fitted.apply(gray) == np.concatenate(single, axis=1)).all()
    assert fitted.names()[0] == "hog_0"
    assert fitted.names()[-1] == "sift_7"


def it_reads_names_and_mappings_and_writes_them_back() -> None:
    wanted = feature_set("hog", {"kind": "lbp", "radius": 2})
    assert [one.kind for one in wanted.features] == ["hog", "lbp"]
    again = FeatureSet.model_validate_json(wanted.model_dump_json())
    assert again == wanted
    assert again.hash == wanted.hash
    assert FeatureSet.model_validate("hog") == feature_set({"kind": "hog"})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["hoge"], "There is no feature 'hoge'. Expected one of color_histogram, gabor"),
        ([{"radius": 2}], "There is no feature"),
        ([{"kind": "hog", "cels": 3}], "cels"),
        ([{"kind": "hog", "cell": 0}], "cell"),
        ([], "at least one feature"),
        (7, "at least one feature"),
        (["hog", {"kind": "hog"}], "named twice"),
    ],
)
def it_refuses_what_is_no_list_of_features(value: object, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FeatureSet.model_validate(value)


def it_changes_its_hash_with_whatever_changes_the_result() -> None:
    different = ["hog", {"kind": "hog", "cell": 6}, "lbp", {"kind": "lbp", "radius": 2}]
    hashes = {parse_feature(one).hash for one in different}
    assert len(hashes) == 4
    assert all(len(one) == 16 for one in hashes)
    assert feature_set("hog", "lbp").hash != feature_set("lbp", "hog").hash


def it_keeps_descriptors_when_only_the_number_of_words_changes() -> None:
    many, few = parse_feature("sift"), parse_feature(FEW_WORDS)
    assert many.hash == few.hash
    assert feature_set("sift").hash != feature_set(FEW_WORDS).hash


def it_survives_a_file_without_pickles(gray: np.ndarray) -> None:
    wanted = feature_set("hog", FEW_WORDS)
    fitted = wanted.fit(wanted.extract(gray))
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **fitted.to_arrays())
    buffer.seek(0)
    loaded = FittedFeatures.from_arrays(np.load(buffer, allow_pickle=False))
    assert loaded.features == wanted
    assert (loaded.apply(gray) == fitted.apply(gray)).all()


def it_refuses_damaged_or_foreign_arrays(gray: np.ndarray) -> None:
    wanted = feature_set("haralick")
    arrays = wanted.fit(wanted.extract(gray)).to_arrays()
    with pytest.raises(ModelError, match="cannot be read"):
        FittedFeatures.from_arrays({})
    with pytest.raises(ModelError, match="cannot be read"):
        FittedFeatures.from_arrays({"features.json": arrays["features.json"][:-4]})
    with pytest.raises(ModelError, match="none of them has made"):
        FittedFeatures.from_arrays(arrays | {"3.words": np.zeros(2)})
    digest = wanted.features[0].digest
    changed = arrays["features.json"].tobytes().replace(digest.encode(), b"0" * 16)
    with pytest.raises(ModelError, match=f"haralick of a model gives other values here.*{digest}"):
        FittedFeatures.from_arrays({"features.json": np.frombuffer(changed, np.uint8)})


def it_refuses_pixels_of_another_kind_or_length(gray: np.ndarray) -> None:
    wanted = feature_set("pixels")
    fitted = wanted.fit(wanted.extract(gray))
    with pytest.raises(DataError, match=r"uint8\[H, W, C\]"):
        fitted.apply(gray.astype(np.float32))
    with pytest.raises(DataError, match="Expected 3,072, as when it was fitted"):
        fitted.apply(gray[:, :32])


def it_refuses_to_fit_on_nothing(gray: np.ndarray) -> None:
    wanted = feature_set("hog", "sift")
    with pytest.raises(DataError, match="at least one image"):
        wanted.fit(wanted.extract(gray[:0]))
    with pytest.raises(DataError, match=r"sift found 0 keypoints in 6 training images.*fewer words"):
        wanted.fit(wanted.extract(np.full_like(gray, 90)))
    with pytest.raises(DataError, match="no feature of the kind sift"):
        wanted.features[1].from_bytes(b"abc")


def it_says_why_a_flat_image_has_no_words(gray: np.ndarray) -> None:
    sift = parse_feature("sift")
    flat = sift.extract(np.zeros((64, 64, 3), np.uint8))
    assert flat.shape == (0, 128)
    assert "no keypoint" in str(sift.reason(flat))
    assert sift.reason(sift.extract(gray[0])) is None
    assert (sift.encode(flat, {"words": np.ones((4, 128), np.float32)}) == 0).all()
