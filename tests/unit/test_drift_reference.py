"""The reference: bounded, equal for equal images, free of duplicates and of code."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

from darkroom.drift import Images, Reference, build_reference, choose_images, pixel_statistics
from darkroom.drift.reference import MAX_FEATURES, MAX_IMAGES, Projection
from darkroom.errors import DataError, ModelError
from tests.drifting import CLASSES, WIDTH, measured, projection, reference_of

pytestmark = pytest.mark.unit


def it_comes_back_as_it_was_written() -> None:
    reference = reference_of()
    data = reference.to_bytes()
    back = Reference.from_bytes(data)
    assert back.to_bytes() == data == reference_of().to_bytes()
    np.testing.assert_array_equal(back.images.features, reference.images.features)
    np.testing.assert_array_equal(back.images.numbers, reference.images.numbers)
    assert back.images.label.tolist() == reference.images.label.tolist()
    assert (back.classes, back.kind, back.groups) == (CLASSES, "embedding", 200)


def it_chooses_a_bounded_number_of_whole_groups() -> None:
    count = 3 * MAX_IMAGES
    ids = [f"{number:05}" for number in range(count)]
    group = [f"p{number // 3}" for number in range(count)]
    rows = choose_images(ids, group, [None] * count)
    assert MAX_IMAGES - 3 < len(rows) <= MAX_IMAGES
    assert set(np.bincount([number // 3 for number in rows.tolist()])) == {0, 3}
    assert len(choose_images(ids, ["one"] * count, [None] * count)) == MAX_IMAGES
    np.testing.assert_array_equal(rows, choose_images(ids, group, [None] * count))
    clusters = ["a"] * 10 + ["b"] * 5 + [None] * 85
    assert choose_images(ids[:100], group[:100], clusters).tolist() == [0, 10, *range(15, 100)]
    assert len(choose_images([], [], [])) == 0


def it_is_small() -> None:
    images, raw = measured(MAX_IMAGES, 1)
    for copies, most in ((1, 500_000), (20, 1_100_000)):
        wide = np.tile(raw, (1, copies))
        fitted = Projection.fit(wide)
        made = build_reference(images, images.label.tolist(), images.ids, CLASSES, "embedding", fitted, wide)
        assert len(made.to_bytes()) < most
    with pytest.raises(DataError, match="2,000"):
        build_reference(*_of(measured(MAX_IMAGES + 1, 1)))
    with pytest.raises(DataError, match="Got 0"):
        build_reference(*_of(measured(0, 1)))


def _of(made: tuple[Images, np.ndarray]) -> tuple[Any, ...]:
    images, raw = made
    return images, images.label.tolist(), images.ids, CLASSES, "embedding", projection(), raw


def it_brings_every_direction_to_one_spread_and_keeps_at_most_64() -> None:
    _, raw = measured(600, 3)
    for width in (1, 8, WIDTH):
        values = raw[:, :width] * np.logspace(-3, 3, width)
        projected = Projection.fit(values).apply(values)
        assert projected.shape == (600, min(width, MAX_FEATURES))
        assert projected.std(axis=0).mean() == pytest.approx(0.9, abs=0.12)
    constant = np.column_stack([raw[:, 0], np.full(600, 7.0)])
    assert np.isfinite(Projection.fit(constant).apply(constant + 100)).all()
    assert Projection.fit(raw[:5]).apply(raw).shape == (600, 5)
    assert (Projection.fit(np.zeros((5, 3))).apply(np.ones((2, 3))) == 0).all()
    with pytest.raises(DataError, match="another model"):
        Projection.fit(raw).apply(raw[:, :5])


def it_refuses_features_that_are_not_finite() -> None:
    images, raw = measured(60, 4)
    raw[3, 3] = np.nan
    with pytest.raises(DataError, match="finite"):
        build_reference(*_of((images, raw)))
    images, raw = measured(60, 4)
    with pytest.raises(DataError, match="NORMAL"):
        build_reference(images, images.label.tolist(), images.ids, ("A", "B"), "embedding", projection(), raw)


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("code was executed",))


def it_refuses_what_is_no_reference() -> None:
    pickled = io.BytesIO()
    np.savez(pickled, facts=np.array([_Trap()], dtype=object))
    arrays = dict(np.load(io.BytesIO(reference_of(60).to_bytes())))
    short, future, huge = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(short, **{**arrays, "score": arrays["score"][:-1]})
    facts = arrays["facts"].tobytes().replace(b'"format_version": 1', b'"format_version": 9')
    np.savez(future, **{**arrays, "facts": np.frombuffer(facts, np.uint8)})
    np.savez_compressed(huge, **{**arrays, "more": np.zeros(30_000_000, np.uint8)})
    for data in (
        b"",
        b"PK not a zip",
        pickle.dumps(_Trap),
        *(part.getvalue() for part in (pickled, short, future, huge)),
    ):
        with pytest.raises(ModelError, match="drift reference"):
            Reference.from_bytes(data)
    whole = reference_of(60).to_bytes()
    with pytest.raises(ModelError):
        Reference.from_bytes(whole[: len(whole) // 2])


def it_describes_pixels_where_a_model_cannot_embed() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (3, 32, 32, 1)).astype(np.uint8)
    found = pixel_statistics(sharp)
    assert found.shape == (3, 40)
    assert np.isfinite(found).all()
    blurred = np.repeat(np.repeat(sharp[:, ::2, ::2], 2, axis=1), 2, axis=2)
    assert (pixel_statistics(blurred)[:, -3] < found[:, -3]).all()
    assert pixel_statistics(sharp[:0]).shape == (0, 40)
    assert np.isfinite(pixel_statistics(np.zeros((1, 1, 1, 3), np.uint8))).all()
