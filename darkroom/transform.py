"""ImageTransform: bytes to uint8 pixels. The one preprocessing, of training, batch and stream alike."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import PIL
import simplejpeg
from pydantic import BaseModel, ConfigDict, Field

from darkroom.contract import stable_hash
from darkroom.decode import Color, Header, ImageFile, ImageProblem, shrink_factor
from darkroom.golden import GOLDEN_IMAGES

__all__ = ["ImageProblem", "ImageTransform", "resize_area"]

Resize = Literal["stretch", "pad", "crop"]

# A JPEG is decoded at a scale that leaves at least this many times the target's pixels on each side; the area filter
# does the rest. At 1 the result differs visibly from a full decode, at 2 by 44 dB or more on radiographs.
OVERSAMPLING = 2.0


class ImageTransform(BaseModel):
    """How the bytes of an image file become pixels of one size.

    ``resize``: "stretch" ignores the aspect ratio; "pad" keeps it and centres the image on black; "crop" keeps it,
    covers the target and cuts off what hangs over, evenly on both sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1, le=4096, description="Width of the result. Pixels.")
    height: int = Field(64, ge=1, le=4096, description="Height of the result. Pixels.")
    color: Color = Field("gray", description="gray (1 channel: ITU-R 601 luma) or rgb (3 channels).")
    resize: Resize = Field("stretch", description="What happens to the aspect ratio: stretch, pad or crop.")

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def hash(self) -> str:
        """16 hex digits over the options, the decoders' versions and what they make of the golden images."""
        return _transform_hash(self)

    def apply(self, image: bytes | ImageFile) -> np.ndarray:
        """The pixels of an image file: uint8[height, width, channels]. Raises ImageProblem."""
        image = image if isinstance(image, ImageFile) else ImageFile(image)
        inner_width, inner_height = self._inner_size(image.header)
        factor = shrink_factor(*image.header.oriented_size, OVERSAMPLING * inner_width, OVERSAMPLING * inner_height)
        return self._fit(image.pixels(self.color, factor))

    def _inner_size(self, header: Header) -> tuple[float, float]:
        """The size, in pixels, that the whole image takes before padding or cropping."""
        width, height = header.oriented_size
        return _fitted(width, height, self)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        if self.resize == "crop":
            keep_width = min(width, max(1, round(height * self.width / self.height)))
            keep_height = min(height, max(1, round(width * self.height / self.width)))
            top, left = (height - keep_height) // 2, (width - keep_width) // 2
            pixels = pixels[top : top + keep_height, left : left + keep_width]
        if self.resize == "pad":
            inner_width, inner_height = (max(1, round(side)) for side in _fitted(width, height, self))
            inner = resize_area(pixels, inner_width, inner_height)
            fitted = np.zeros((self.height, self.width, *pixels.shape[2:]), np.uint8)
            top, left = (self.height - inner_height) // 2, (self.width - inner_width) // 2
            fitted[top : top + inner_height, left : left + inner_width] = inner
        else:
            fitted = resize_area(pixels, self.width, self.height)
        return fitted.reshape(self.shape)


def resize_area(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize uint8[H, W(, C)]: the mean over each new pixel's area where it shrinks, bilinear where it grows.

    From half the size on, the mean is taken over a whole power of two of samples a side, read bilinearly at a small
    step: within 0.5 dB of the exact area filter against a full decode, in a third of its time (benchmarks/decode.py).
    """
    small_width, small_height = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    across, down = _power_of_two(pixels.shape[1] / small_width), _power_of_two(pixels.shape[0] / small_height)
    if across >= 2 and down >= 2:
        samples = (across * small_width, down * small_height)
        if (samples[1], samples[0]) != pixels.shape[:2]:
            pixels = cv2.resize(pixels, samples, interpolation=cv2.INTER_LINEAR)
    if (small_height, small_width) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (small_width, small_height), interpolation=cv2.INTER_AREA)
    if (height, width) != pixels.shape[:2]:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels)


def _power_of_two(ratio: float) -> int:
    """The largest power of two that is not above a ratio of at least 1."""
    return 1 << (int(ratio).bit_length() - 1)


def _fitted(width: int, height: int, transform: ImageTransform) -> tuple[float, float]:
    if transform.resize == "stretch":
        return transform.width, transform.height
    scales = (transform.width / width, transform.height / height)
    scale = min(scales) if transform.resize == "pad" else max(scales)
    return width * scale, height * scale


@lru_cache(maxsize=256)
def _transform_hash(transform: ImageTransform) -> str:
    seen = hashlib.sha256()
    for image in map(ImageFile, GOLDEN_IMAGES):
        seen.update(transform.apply(image).tobytes())
        for factor in (1, 2, 4, 8):  # the sizes that are asked for decide which of them apply() takes
            pixels = image.pixels(transform.color, factor)
            seen.update(pixels.tobytes())
            seen.update(resize_area(pixels, 13, 11).tobytes())
    return stable_hash({"options": transform.model_dump(), "decoders": decoder_versions(), "golden": seen.hexdigest()})


def decoder_versions() -> dict[str, str]:
    """The versions of what turns bytes into pixels."""
    return {
        "cv2": cv2.__version__,
        "numpy": np.__version__.partition(".")[0],
        "pillow": PIL.__version__,
        "simplejpeg": simplejpeg.__version__,
    }
