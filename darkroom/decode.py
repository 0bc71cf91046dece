"""From the bytes of an image file to pixels, by the image rules.

- EXIF orientation is applied. Alpha is laid over black. CMYK becomes RGB. Palettes are resolved. Of an animation the
  first frame counts.
- 16-bit gray is divided by 257 (0..65535 to 0..255) and rounded. 32-bit integers that fit 16 bits are treated in the
  same way; other 32-bit and floating point images have no range that their type would give, so their own minimum and
  maximum become 0 and 255.
- Limits on bytes and on declared pixels are checked before anything is decoded.
- A file that ends early is ``truncated``, also where a decoder would fill the rest with gray.

JPEG is decoded by libjpeg-turbo at a power-of-two scale inside the DCT (Pillow for CMYK and other odd ones), every
other format by Pillow.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from darkroom.contract import PROBLEMS
from darkroom.errors import DataError
from darkroom.settings import get_settings

Color = Literal["gray", "rgb"]

# Formats that are opened. Others (EPS, PDF, ...) start programs, or are no images to learn from.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

# Our own limit on declared pixels stands in for Pillow's, which only warns up to twice its value.
Image.MAX_IMAGE_PIXELS = None

# How the files of a format begin, and what a whole one holds near its end.
_ENDINGS = {
    b"\xff\xd8\xff": b"\xff\xd9",
    b"\x89PNG\r\n": b"IEND",
    b"GIF8": b";",
    b"\0\0\0\x0cjP": b"\xff\xd9",
    b"II*\0": b"",
    b"MM\0*": b"",
}
# What Pillow's plugins raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
           MemoryError, ZeroDivisionError, RuntimeError, AttributeError)  # fmt: skip


class ImageProblem(DataError):
    """One image cannot be used. ``reason`` is one of contract.PROBLEMS; the message is "reason: detail"."""

    def __init__(self, reason: str, detail: str = "", *, page: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason, page=page)
        self.reason = reason.partition(":")[0]
        if self.reason not in PROBLEMS:
            raise ValueError(f"Got the reason {reason!r}. Expected one of {', '.join(PROBLEMS)}.")


@dataclass(frozen=True)
class Header:
    """What a file declares about itself."""

    format: str
    width: int  # pixels, as stored: before EXIF orientation
    height: int
    mode: str  # Pillow's mode of the stored image
    orientation: int  # EXIF, 1..8
    image: Any  # the opened, not yet decoded Pillow image

    @property
    def oriented_size(self) -> tuple[int, int]:
        """Width and height in pixels after EXIF orientation."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class ImageFile:
    """The bytes of one image file, whose header is read once and whose pixels are decoded once a color and scale."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._decoded: dict[tuple[Color, int], np.ndarray] = {}

    @cached_property
    def header(self) -> Header:
        """See ``read_header``. Raises ImageProblem."""
        return read_header(self.data)

    def pixels(self, color: Color, factor: int) -> np.ndarray:
        """See ``decode``. Not to be written to: who asks again gets the same array. Raises ImageProblem."""
        if (color, factor) not in self._decoded:
            self._decoded[color, factor] = decode(self.data, self.header, color, factor)
        return self._decoded[color, factor]


def read_header(data: bytes) -> Header:
    """Read the header and check the limits; decodes nothing. Raises ImageProblem."""
    settings = get_settings()
    if not data:
        raise ImageProblem("empty", "the file has 0 bytes")
    if len(data) > settings.max_image_bytes:
        raise ImageProblem("too_large", f"the file is larger than {settings.max_image_bytes:,} bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _damage(data, "not_an_image", "no known image format") from None
    except _DAMAGE as error:
        raise _damage(data, "undecodable", str(error)) from None
    width, height = image.size
    if width * height > settings.max_image_pixels:
        limit = settings.max_image_pixels
        raise ImageProblem("too_many_pixels", f"{width:,} x {height:,} pixels declared, the limit is {limit:,} in all")
    if width < 1 or height < 1:
        raise ImageProblem("undecodable", f"{width} x {height} pixels declared")
    return Header(image.format or "", width, height, image.mode, _orientation(image), image)


def decode(data: bytes, header: Header, color: Color, factor: int = 1) -> np.ndarray:
    """Decode to uint8[H, W] (gray: ITU-R 601 luma) or uint8[H, W, 3] (RGB), oriented.

    ``factor`` is 1, 2, 4 or 8. JPEG images are shrunk by it while decoding, to ceil(size / factor); all else comes at
    full size. Raises ImageProblem.
    """
    if header.format in ("JPEG", "MPO"):
        pixels = _decode_jpeg(data, header, color, factor)
        if pixels is not None:
            return _orient(pixels, header.orientation)
    return _decode_pillow(data, header, color)


def shrink_factor(width: int, height: int, least_width: float, least_height: float) -> int:
    """The largest of 8, 4, 2, 1 that leaves at least the given numbers of pixels on each side."""
    for factor in (8, 4, 2):
        if width / factor >= least_width and height / factor >= least_height:
            return factor
    return 1


def _decode_jpeg(data: bytes, header: Header, color: Color, factor: int) -> np.ndarray | None:
    """Pixels as stored (not oriented), or None where Pillow must do it."""
    direct = header.mode in ("L", "RGB")
    if not direct:
        factor = 8  # only to check the file: Pillow overlooks data that ends early before an end marker
    colorspace = "CMYK" if header.mode == "CMYK" else "GRAY" if color == "gray" else "RGB"
    least_width, least_height = -(-header.width // factor), -(-header.height // factor)
    array = np.frombuffer(data, np.uint8)
    arguments: dict[str, Any] = {"colorspace": colorspace, "min_height": least_height, "min_width": least_width}
    try:
        pixels = simplejpeg.decode_jpeg(array, strict=True, **arguments)
    except ValueError as error:
        text = str(error)
        if "extraneous bytes before marker 0xd9" in text:  # padding before the end marker: nothing is missing
            pixels = simplejpeg.decode_jpeg(array, strict=False, **arguments)
        elif "remature end" in text:
            raise ImageProblem("truncated", text) from None
        elif "Corrupt" in text:
            raise _damage(data, "undecodable", text) from None
        else:
            return None  # a kind of JPEG that libjpeg-turbo's simple interface does not know
    if not direct:
        return None
    return pixels[:, :, 0] if color == "gray" else pixels


def _decode_pillow(data: bytes, header: Header, color: Color) -> np.ndarray:
    image = header.image
    if header.format == "PNG" and data.rfind(b"IEND") < 0:  # Pillow does not miss the end once it has all pixels
        raise ImageProblem("truncated", "the PNG has no end")
    try:
        image.load()
        if header.orientation != 1:
            image = ImageOps.exif_transpose(image)
        return _to_color(image, color)
    except _DAMAGE as error:
        raise _damage(data, "undecodable", str(error) or type(error).__name__) from None


def _to_color(image: Any, color: Color) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        gray = _scale_range(np.asarray(image), image.info.get("transparency"))
        return gray if color == "gray" else np.repeat(gray[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        layer = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", layer.size)
        image.paste(layer, mask=layer.getchannel("A"))
    elif image.mode == "P":
        image = image.convert("RGB")
    return np.asarray(image.convert("L" if color == "gray" else "RGB"))


def _scale_range(values: np.ndarray, transparent: Any) -> np.ndarray:
    """uint8 from 16-bit, 32-bit or floating point gray; see the module's rules."""
    if isinstance(transparent, int):
        values = np.where(values == transparent, 0, values)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = (0.0, 65535.0)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _orientation(image: Any) -> int:
    """EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        if image.format in ("JPEG", "MPO") and "exif" not in image.info:
            return 1
        if image.format == "PNG" and "exif" not in image.info:
            return 1
        value = image.getexif().get(0x0112, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (CIPA DC-008, tag 274)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _damage(data: bytes, reason: str, detail: str) -> ImageProblem:
    """The problem of a file that cannot be decoded: truncated when it has a known start and lacks its end."""
    text = " ".join(detail.split())[:200]
    if "truncated" in text.lower() or "unexpected end" in text.lower():
        return ImageProblem("truncated", text)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        whole = len(data) >= int.from_bytes(data[4:8], "little") + 8
        return ImageProblem("undecodable" if whole else "truncated", text)
    for signature, ending in _ENDINGS.items():
        if data.startswith(signature):
            return ImageProblem("undecodable" if ending in data[-64:] else "truncated", text)
    return ImageProblem(reason, text)


def one_thread() -> None:
    """Keep OpenCV to the calling thread, for workers that share a machine."""
    cv2.setNumThreads(1)
