"""One feature: what is computed from the pixels of one image, and with which options.

A kind of feature is one module of darkroom/features/kinds, found by its name. It has

- ``Options``: a ``Feature`` with the kind's options;
- ``extract(pixels, options)``: from uint8[H, W, C] to what is kept of an image, its raw feature. Pure. float32[D],
  where D depends on the options and on the shape of the pixels only;
- ``LIBRARIES``: the modules whose versions decide the result.

Where an image has a number of its own of descriptors (SIFT), the module also has

- ``RAW``: dtype and width of the raw feature, which is an array of [K, width] then;
- ``FITTED``: the names of the options that only the next two use;
- ``fit(raws, options, seed)``: from the raw features of the training images to named arrays;
- ``encode(raw, options, arrays)``: from a raw feature to float32[D];
- ``reason(raw)``: why nothing can be said of an image, or None.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from darkroom.contract import stable_hash
from darkroom.errors import DataError, InvalidRequest
from darkroom.features import kinds
from darkroom.golden import GOLDEN_IMAGES
from darkroom.transform import ImageTransform, resize_area

Raws = Sequence[np.ndarray] | np.ndarray
"""Raw features of several images in order: float32[N, D], or a list of arrays where K is each image's own."""

_FLOATS = np.dtype("<f4")
_GOLDEN_SIDE = 96  # pixels
_LARGE_SIDE = 4096  # pixels; no image is enlarged beyond it


class Feature(BaseModel):
    """The options of one feature; equal options are the same feature. Subclasses give ``kind`` its one value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @property
    def hash(self) -> str:
        """16 hex digits over all that decides the raw feature: options, library versions, results on golden images."""
        module = self._module
        versions = {name: str(import_module(name).__version__) for name in module.LIBRARIES}
        options = self.model_dump(mode="json", exclude=set(getattr(module, "FITTED", ())))
        return stable_hash({"options": options, "libraries": versions, "golden": self.digest})

    @property
    def digest(self) -> str:
        """16 hex digits over what it makes of the golden images: library versions that agree have the same."""
        return _golden_digest(self)

    @property
    def fitted(self) -> bool:
        """Whether raw features become vectors only by what was fitted on the training images."""
        return hasattr(self._module, "fit")

    @property
    def raw_dtype(self) -> np.dtype:
        """Of the raw feature, as it is kept in the features table."""
        return np.dtype(self._module.RAW[0]) if self.fitted else _FLOATS

    def extract(self, pixels: np.ndarray) -> np.ndarray:
        """The raw feature of uint8[H, W, C], one image with 1 or 3 channels: float32[D], or [K, width] where fitted.

        Raises InvalidRequest where images of this shape are too small for the options, DataError for what is no image.
        """
        if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3) or not pixels.size:
            raise DataError(
                f"The feature {self.kind} got pixels of {pixels.dtype}{list(pixels.shape)}. Expected uint8[H, W, C] "
                "with 1 or 3 channels."
            )
        raw: np.ndarray = self._module.extract(pixels, self)
        return raw

    def reason(self, raw: np.ndarray) -> str | None:
        """Why this raw feature says nothing of its image; None where it does."""
        tell: Callable[[np.ndarray], str | None] | None = getattr(self._module, "reason", None)
        return None if tell is None else tell(raw)

    def fit(self, raws: Raws, seed: int) -> dict[str, np.ndarray]:
        """What ``encode`` needs beside the options; nothing for most. Raises DataError where there is too little."""
        return dict(self._module.fit(raws, self, seed)) if self.fitted else {}

    def encode(self, raw: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32[D] of one raw feature."""
        return np.asarray(self._module.encode(raw, self, arrays)) if self.fitted else raw

    def to_bytes(self, raw: np.ndarray) -> bytes:
        """How the features table keeps it."""
        return np.ascontiguousarray(raw, self.raw_dtype).tobytes()

    def from_bytes(self, data: bytes | memoryview) -> np.ndarray:
        """The raw feature that ``to_bytes`` was given; not to be written to. Raises DataError for a cut one."""
        width = self._module.RAW[1] if self.fitted else 1
        if memoryview(data).nbytes % (self.raw_dtype.itemsize * width):
            raise DataError(f"{memoryview(data).nbytes} bytes are no feature of the kind {self.kind}. Make it again.")
        flat = np.frombuffer(data, self.raw_dtype)
        return flat.reshape(-1, width) if self.fitted else flat

    @property
    def _module(self) -> Any:
        return _module(self.kind)


def feature_kinds() -> list[str]:
    """The names of all kinds, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(kinds.__path__))


def parse_feature(value: Any) -> Feature:
    """A feature from its name, or from a mapping with ``kind`` and options.

    Raises InvalidRequest for an unknown kind, and pydantic's ValidationError for wrong options.
    """
    if isinstance(value, Feature):
        return value
    fields = {"kind": value} if isinstance(value, str) else value
    if not isinstance(fields, Mapping) or fields.get("kind") not in feature_kinds():
        raise InvalidRequest(
            f"There is no feature {value!r}. Expected one of {', '.join(feature_kinds())}, or a mapping with such a "
            "kind and its options."
        )
    made: Feature = _module(fields["kind"]).Options.model_validate(dict(fields))
    return made


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """uint8[H, W], the ITU-R 601 luma of uint8[H, W, C]."""
    return pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def at_least(gray: np.ndarray, side: int) -> np.ndarray:
    """uint8[H, W] enlarged so that the shorter side has so many pixels, as far as the longer one gets no huge one."""
    height, width = gray.shape
    if min(height, width) >= side:
        return gray
    scale = side / min(height, width)
    return resize_area(gray, min(round(width * scale), _LARGE_SIDE), min(round(height * scale), _LARGE_SIDE))


def too_small(feature: Feature, shape: Sequence[int], least: str) -> InvalidRequest:
    """The error of a feature that cannot be computed from images of this shape."""
    height, width = shape[:2]
    return InvalidRequest(
        f"The feature {feature.kind} cannot be computed from images of {width} x {height} pixels. Expected {least}. "
        "Choose a larger width and height in the transform, or other options."
    )


def _module(kind: str) -> Any:
    return import_module(f"{kinds.__name__}.{kind}")


@lru_cache(maxsize=1)
def _golden_pixels() -> list[np.ndarray]:
    """Each golden image, the gray ones with one channel."""
    sizes = {"width": _GOLDEN_SIDE, "height": _GOLDEN_SIDE}
    transforms = [ImageTransform.model_validate({**sizes, "color": color}) for color in ("rgb", "gray", "gray", "rgb")]
    return [transform.apply(data) for transform, data in zip(transforms, GOLDEN_IMAGES, strict=True)]


@lru_cache(maxsize=256)
def _golden_digest(feature: Feature) -> str:
    seen = hashlib.sha256()
    for pixels in _golden_pixels():
        try:
            seen.update(_summary(feature.extract(pixels)))
        except InvalidRequest as error:  # options for larger images than these
            seen.update(error.message.encode())
    return seen.hexdigest()[:16]


def _summary(raw: np.ndarray) -> bytes:
    """Sixteen means along a raw feature to a hundredth of its largest value: equal on CPUs that round differently."""
    flat = np.abs(raw.astype(np.float64).ravel())
    if not flat.size or not flat.max():
        return str(raw.shape).encode()
    means = [part.mean() for part in np.array_split(flat / flat.max(), 16) if part.size]
    return np.rint(np.array(means) * 100).astype(np.int32).tobytes() + str(raw.shape).encode()
