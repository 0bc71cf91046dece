"""ImageTransform: every kind of image file, whole or broken, becomes pixels of one shape or one named problem."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from darkroom import transform as transform_module
from darkroom.contract import PROBLEMS
from darkroom.decode import decode, read_header
from darkroom.errors import DataError
from darkroom.settings import get_settings
from darkroom.transform import ImageProblem, ImageTransform, resize_area

pytestmark = pytest.mark.unit

GRAY = ImageTransform(width=48, height=32)
RGB = ImageTransform(width=48, height=32, color="rgb")
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF"]


def scene(width: int = 480, height: int = 320) -> np.ndarray:
    """A smooth colour picture with a different value at each corner: uint8[height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 255 * columns / width
    green = 255 * rows / height
    blue = 127 + 60 * np.sin(columns / 25) * np.cos(rows / 31)
    return np.clip(np.stack([red, green, blue], axis=2), 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def problem_of(data: bytes, transform: ImageTransform = GRAY) -> str:
    with pytest.raises(ImageProblem) as caught:
        transform.apply(data)
    return caught.value.reason


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("transform", [GRAY, RGB], ids=["gray", "rgb"])
def it_decodes_every_format_to_the_same_picture(kind: str, transform: ImageTransform) -> None:
    pixels = transform.apply(encoded(scene(), kind))
    expected = transform.apply(encoded(scene(), "PNG"))
    assert pixels.dtype == np.uint8
    assert pixels.shape == transform.shape
    assert pixels.flags.c_contiguous
    assert difference(pixels, expected) < (12 if kind == "GIF" else 3)


def it_refuses_an_empty_file() -> None:
    assert problem_of(b"") == "empty"


@pytest.mark.parametrize(
    "data", [b"hello", b"\0" * 5000, b"%PDF-1.4 ...", b"<svg></svg>", b"BMW is a car", b"RIFF1234WAVE"]
)
def it_refuses_what_is_not_an_image(data: bytes) -> None:
    assert problem_of(data) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def it_calls_a_cut_file_truncated(kind: str, share: float) -> None:
    data = encoded(scene(), kind)
    for transform in (GRAY, RGB):
        assert problem_of(data[: int(len(data) * share)], transform) == "truncated"


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def it_sees_a_cut_jpeg_through_an_end_marker_put_after_the_cut(options: dict[str, Any]) -> None:
    for mode in ("RGB", "L", "CMYK"):
        data = encoded(Image.fromarray(scene()).convert(mode), "JPEG", **options)
        assert problem_of(data[: len(data) // 2] + b"\xff\xd9") == "truncated"
        assert problem_of(data[:-2]) == "truncated"


def it_calls_a_jpeg_with_damaged_data_undecodable_or_truncated() -> None:
    data = bytearray(encoded(scene(), "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(range(200))
    assert problem_of(bytes(data)) in ("undecodable", "truncated")


def it_accepts_padding_before_a_jpegs_end_marker() -> None:
    data = encoded(scene(), "JPEG")
    padded = data[:-2] + b"\0" * 7 + b"\xff\xd9"
    assert (RGB.apply(padded) == RGB.apply(data)).all()


def it_never_raises_anything_but_an_image_problem() -> None:
    rng = np.random.default_rng(7)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = np.frombuffer(encoded(scene(96, 64), kind), np.uint8)
        for _ in range(60):
            data = whole.copy()
            data[rng.integers(0, len(data), 1 + len(data) // 100)] = rng.integers(0, 256)
            reason = None
            try:
                pixels = GRAY.apply(data.tobytes())
            except ImageProblem as problem:
                reason = problem.reason
            assert reason in PROBLEMS or pixels.shape == GRAY.shape


def it_refuses_declared_giants_without_decoding_them() -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(ImageProblem, match="60,000 x 60,000") as caught:
        GRAY.apply(png_header(60_000, 60_000))
    assert time.perf_counter() - started < 0.5
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()
    assert caught.value.reason == "too_many_pixels"


def it_refuses_declared_giants_of_other_formats() -> None:
    jpeg = bytearray(encoded(scene(), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    gif = bytearray(encoded(scene(), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    assert problem_of(bytes(jpeg)) == "too_many_pixels"
    assert problem_of(bytes(gif)) == "too_many_pixels"


def it_refuses_files_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_MAX_IMAGE_BYTES", "1000")
    get_settings.cache_clear()
    try:
        assert problem_of(encoded(scene(), "PNG")) == "too_large"
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def it_turns_cmyk_into_rgb() -> None:
    image = Image.fromarray(scene())
    assert (
        difference(RGB.apply(encoded(image.convert("CMYK"), "JPEG", quality=95)), RGB.apply(encoded(image, "PNG"))) < 4
    )


def it_scales_16_bit_by_its_range() -> None:
    deep = np.zeros((32, 48), np.uint16)
    deep[:, 24:] = 65535
    deep[16:, :24] = 32768
    for kind in ("PNG", "TIFF"):
        pixels = GRAY.apply(encoded(deep, kind))[:, :, 0]
        assert (pixels[0, 0], pixels[-1, 0], pixels[0, -1]) == (0, 128, 255)
        assert (RGB.apply(encoded(deep, kind)) == pixels[:, :, None]).all()


def it_scales_floating_point_by_its_own_extremes() -> None:
    values = np.linspace(-3, 5, 32 * 48).reshape(32, 48).astype(np.float32)
    pixels = GRAY.apply(encoded(values, "TIFF"))
    assert (pixels.min(), pixels.max()) == (0, 255)


def it_makes_a_flat_floating_point_image_black() -> None:
    assert not GRAY.apply(encoded(np.full((32, 48), np.nan, np.float32), "TIFF")).any()


def it_lays_alpha_over_black() -> None:
    layer = np.full((32, 48, 4), 255, np.uint8)
    layer[:, :, 3] = 0
    layer[:, 16:32, 3] = 128
    layer[:, 32:, 3] = 255
    pixels = RGB.apply(encoded(layer, "PNG"))
    assert [int(pixels[5, column, 0]) for column in (2, 24, 45)] == [0, 128, 255]
    gray = np.dstack([np.full((32, 48), 255, np.uint8), layer[:, :, 3]])
    assert (GRAY.apply(encoded(gray, "PNG"))[:, :, 0] == pixels[:, :, 0]).all()


def it_resolves_palettes_and_their_transparent_colour() -> None:
    image = Image.new("P", (48, 32), 1)
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
    image.paste(0, (0, 0, 24, 32))
    opaque = RGB.apply(encoded(image, "PNG"))
    assert opaque[0, 0].tolist() == [255, 0, 0]
    assert opaque[0, -1].tolist() == [0, 255, 0]
    clear = RGB.apply(encoded(image, "PNG", transparency=0))
    assert clear[0, 0].tolist() == [0, 0, 0]
    assert clear[0, -1].tolist() == [0, 255, 0]


def it_takes_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(RGB.apply(data)[4, 4].astype(int) - [255, 0, 0]).max() < 6, kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def it_applies_exif_orientation(kind: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored turned left; shown after a turn to the right
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(scene())
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif)
    assert read_header(data).oriented_size in ((480, 320),) or kind == "TIFF"
    assert difference(RGB.apply(data), RGB.apply(encoded(upright, "PNG"))) < 4


def it_ignores_an_orientation_that_is_none() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert (RGB.apply(encoded(scene(), "JPEG", exif=exif)) == RGB.apply(encoded(scene(), "JPEG"))).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (48, 32), (20, 400), (1, 65000)])
@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def it_gives_the_same_shape_whatever_the_size(size: tuple[int, int], resize: str) -> None:
    transform = ImageTransform(width=48, height=32, color="rgb", resize=resize)
    for kind in ("JPEG", "PNG"):
        assert transform.apply(encoded(scene(*size), kind)).shape == (32, 48, 3)


def it_pads_with_black_and_crops_evenly() -> None:
    white = np.full((100, 400), 255, np.uint8)
    padded = ImageTransform(width=40, height=40, resize="pad").apply(encoded(white, "PNG"))[:, :, 0]
    assert (padded[15:25] == 255).all()
    assert not padded[:15].any()
    assert not padded[25:].any()
    white[:, 150:250] = 7
    cropped = ImageTransform(width=40, height=40, resize="crop").apply(encoded(white, "PNG"))
    assert (cropped == 7).all()


def it_stays_within_44_db_of_a_full_decode_on_radiograph_like_images() -> None:
    rng = np.random.default_rng(3)
    for color, colorspace in (("rgb", "RGB"), ("gray", "GRAY")):
        transform = ImageTransform(width=224, height=224, color=color)
        for _ in range(4):
            noise = cv2.GaussianBlur(rng.normal(0, 40, (1000, 1400, 3)).astype(np.float32), (0, 0), 3) * 4
            data = encoded(np.clip(scene(1400, 1000) * 0.6 + 40 + noise, 0, 255).astype(np.uint8), "JPEG", quality=90)
            full = simplejpeg.decode_jpeg(data, colorspace)
            box = cv2.resize(full, (224, 224), interpolation=cv2.INTER_AREA).reshape(transform.shape)
            error = ((transform.apply(data).astype(float) - box) ** 2).mean()
            assert 10 * np.log10(255**2 / error) >= 44


def it_shrinks_jpegs_while_decoding_and_nothing_else() -> None:
    jpeg, png = encoded(scene(801, 601), "JPEG"), encoded(scene(801, 601), "PNG")
    assert decode(jpeg, read_header(jpeg), "gray", 4).shape == (151, 201)
    assert decode(png, read_header(png), "gray", 4).shape == (601, 801)


def it_resizes_by_area_down_and_bilinear_up() -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(resize_area(checks, 32, 32).astype(int) - 127).max() <= 1
    assert resize_area(checks, 32, 128).shape == (128, 32)


def it_hashes_options_decoders_and_what_they_make_of_golden_images(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GRAY.hash == ImageTransform(width=48, height=32).hash
    assert len(GRAY.hash) == 16
    others = [RGB, ImageTransform(width=32, height=48), ImageTransform(width=48, height=32, resize="pad")]
    assert len({GRAY.hash, *(other.hash for other in others)}) == 4
    before = transform_module._transform_hash.__wrapped__(GRAY)
    monkeypatch.setattr(transform_module, "decoder_versions", lambda: {"pillow": "another"})
    assert transform_module._transform_hash.__wrapped__(GRAY) != before
    monkeypatch.undo()
    monkeypatch.setattr(
        transform_module, "resize_area", lambda pixels, w, h: np.zeros((h, w, *pixels.shape[2:]), np.uint8)
    )
    assert transform_module._transform_hash.__wrapped__(GRAY) != before


def it_keeps_a_problem_whole_on_its_way_between_processes() -> None:
    import pickle

    problem = ImageProblem("truncated", "12 bytes are missing")
    for copy in (pickle.loads(pickle.dumps(problem)), DataError.from_dict(problem.as_dict())):
        assert isinstance(copy, ImageProblem)
        assert (copy.reason, copy.message) == ("truncated", "truncated: 12 bytes are missing")
