"""measure: one pass over the bytes of any file, and never an error."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from darkroom.decode import ImageFile, decode
from darkroom.imagestats import Measurement, measure, perceptual_hash
from darkroom.transform import ImageTransform

pytestmark = pytest.mark.unit


def picture(width: int = 300, height: int = 200, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def it_tells_what_a_file_is() -> None:
    found = measure(encoded(picture(), "PNG"))
    values = np.asarray(picture(), dtype=np.float64)
    assert (found.format, found.width, found.height, found.mode, found.problem) == ("PNG", 300, 200, "L", None)
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(values.std())
    assert (found.min, found.max) == (values.min(), values.max())
    assert found.thumbnail is not None
    assert found.thumbnail.shape == (32, 32)
    assert found.thumbnail.dtype == np.uint8


@pytest.mark.parametrize("size", [(1024, 700), (2000, 1999), (513, 4000)])
def it_gives_the_same_numbers_for_a_large_image_whatever_its_format(size: tuple[int, int]) -> None:
    jpeg = measure(encoded(picture(*size), "JPEG", quality=95))
    png = measure(encoded(picture(*size), "PNG"))
    for name in ("mean", "std", "min", "max"):
        assert getattr(jpeg, name) == pytest.approx(getattr(png, name), abs=3)
    assert (jpeg.width, jpeg.height) == size == (png.width, png.height)
    assert bits_apart(jpeg.phash or "", png.phash or "") <= 4


def it_measures_the_oriented_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = measure(encoded(picture(800, 600), "JPEG", exif=exif))
    upright = measure(encoded(picture(800, 600).transpose(Image.Transpose.ROTATE_270), "JPEG"))
    assert (turned.width, turned.height) == (600, 800)
    assert bits_apart(turned.phash or "", upright.phash or "") <= 2


def it_keeps_the_hash_through_saving_and_scaling() -> None:
    original = measure(encoded(picture(), "PNG")).phash or ""
    for data in (
        encoded(picture(), "JPEG", quality=40),
        encoded(picture().resize((210, 140)), "JPEG"),
        encoded(picture().point(lambda value: value * 0.85), "PNG"),
    ):
        assert bits_apart(measure(data).phash or "", original) <= 6
    assert bits_apart(measure(encoded(picture(seed=1), "PNG")).phash or "", original) > 12


def it_hashes_flat_images_to_zeros() -> None:
    for value in (0, 77, 255):
        assert perceptual_hash(np.full((32, 32), value, np.uint8)) == "0" * 16


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"no picture", "not_an_image"),
        (encoded(picture(), "JPEG")[:2000], "truncated"),
        (encoded(picture(), "PNG")[:-40], "truncated"),
    ],
)
def it_describes_bad_bytes_instead_of_raising(data: bytes, problem: str) -> None:
    found = measure(data)
    assert (found.problem or "").startswith(problem)
    assert found.mean is None
    assert found.phash is None
    assert found.thumbnail is None


def it_keeps_what_the_header_of_a_broken_file_told() -> None:
    found = measure(encoded(picture(), "JPEG")[:3000])
    assert (found.format, found.width, found.height, found.mode) == ("JPEG", 300, 200, "L")


def it_survives_random_bytes() -> None:
    rng = np.random.default_rng(0)
    for start in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"):
        for _ in range(20):
            found = measure(start + rng.bytes(300))
            assert isinstance(found, Measurement)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def it_shares_a_decoded_image_with_a_transform(kind: str, color: Literal["gray", "rgb"]) -> None:
    transform = ImageTransform(width=64, height=64, color=color)
    for size in ((1400, 1000), (90, 700)):
        data = encoded(picture(*size).convert("RGB"), kind)
        alone = measure(data)
        for first in (measure, transform.apply):
            shared = ImageFile(data)
            first(shared)
            found = measure(shared)
            assert (found.mean, found.std, found.phash) == (alone.mean, alone.std, alone.phash)
            assert np.array_equal(transform.apply(shared), transform.apply(data))


def it_decodes_once_for_the_default_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("darkroom.decode.decode", lambda *a: calls.append(a) or decode(*a))
    for size in ((1400, 1000), (224, 224), (90, 700)):
        calls.clear()
        image = ImageFile(encoded(picture(*size), "JPEG"))
        measure(image)
        ImageTransform(width=64, height=64).apply(image)
        assert len(calls) == 1
