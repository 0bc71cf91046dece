"""Pictures from the data: samples, average images and pixel histograms. The choice is by hash and seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pandas as pd

from darkroom.decode import ImageProblem
from darkroom.eda.statistics import Facts, of_class, of_split
from darkroom.errors import DataError
from darkroom.splitting.contents import hash_order
from darkroom.transform import ImageTransform

THUMBNAIL_SIDE = 128
HISTOGRAM_SIDE = 128
SAMPLES_PER_CLASS = 8
IMAGES_PER_SPLIT = 150
IMAGES_PER_CLASS = 60
JPEG_QUALITY = 82

_SHOWN = ImageTransform(width=THUMBNAIL_SIDE, height=THUMBNAIL_SIDE, color="rgb", resize="pad")
_MEASURED = ImageTransform(width=HISTOGRAM_SIDE, height=HISTOGRAM_SIDE, color="gray", resize="stretch")

Read = Callable[[str], bytes]


@dataclass
class Reader:
    """Decodes images of the dataset. One that is gone, has changed or does not decode, is None and is counted."""

    read: Read
    unreadable: list[str] = field(default_factory=list)

    def pixels(self, uri: str, transform: ImageTransform) -> np.ndarray | None:
        try:
            return transform.apply(self.read(uri))
        except (ImageProblem, FileNotFoundError, DataError):
            self.unreadable.append(uri)
            return None

    def thumbnail(self, uri: str) -> bytes | None:
        """JPEG bytes of at most THUMBNAIL_SIDE pixels a side, padded to a square with black."""
        pixels = self.pixels(uri, _SHOWN)
        return None if pixels is None else encode_jpeg(pixels)


@dataclass(frozen=True)
class Histograms:
    """Shares of the 256 gray levels: float64[256] a split and a class; and float64[H, W] average images a class."""

    splits: dict[str | None, np.ndarray]
    classes: dict[str | None, np.ndarray]
    averages: dict[str | None, np.ndarray]
    images: int


def shuffled(rows: pd.DataFrame, seed: int, purpose: str) -> pd.DataFrame:
    """Rows in an order that depends on their content ids and the seed alone; each content once."""
    unique = rows.drop_duplicates("content_id")
    order = np.argsort(hash_order(unique["content_id"], seed, purpose), kind="stable")
    return unique.iloc[order]


def samples(
    facts: Facts, reader: Reader, classes: Iterable[str | None], seed: int
) -> dict[str | None, list[tuple[bytes, str]]]:
    """For each class up to SAMPLES_PER_CLASS pictures: JPEG bytes, file name. A failure is skipped."""
    found: dict[str | None, list[tuple[bytes, str]]] = {}
    mixed = shuffled(facts.usable, seed, "samples")
    for label in classes:
        taken: list[tuple[bytes, str]] = []
        for row in of_class(mixed, label).head(3 * SAMPLES_PER_CLASS).itertuples():
            picture = reader.thumbnail(str(row.uri))
            if picture is not None:
                taken.append((picture, str(row.path).rpartition("/")[2]))
            if len(taken) == SAMPLES_PER_CLASS:
                break
        if taken:
            found[label] = taken
    return found


def histograms(facts: Facts, reader: Reader, classes: Iterable[str | None], seed: int) -> Histograms:
    """Pixel histograms of up to IMAGES_PER_SPLIT images a split and IMAGES_PER_CLASS a class, and average images."""
    mixed = shuffled(facts.usable, seed, "histograms")
    chosen: dict[tuple[str, str | None], list[str]] = {}
    for split in facts.compared:
        chosen["split", split] = of_split(mixed, split)["uri"].head(IMAGES_PER_SPLIT).tolist()
    for label in classes:
        chosen["class", label] = of_class(mixed, label)["uri"].head(IMAGES_PER_CLASS).tolist()
    members: dict[str, list[tuple[str, str | None]]] = {}
    for key, uris in chosen.items():
        for uri in uris:
            members.setdefault(uri, []).append(key)
    counts = {key: np.zeros(256) for key in chosen}
    sums = {label: np.zeros((HISTOGRAM_SIDE, HISTOGRAM_SIDE)) for kind, label in chosen if kind == "class"}
    decoded = dict.fromkeys(sums, 0)
    for uri, keys in members.items():
        pixels = reader.pixels(uri, _MEASURED)
        if pixels is None:
            continue
        levels = np.bincount(pixels.ravel(), minlength=256)
        for kind, name in keys:
            counts[kind, name] += levels
            if kind == "class":
                sums[name] += pixels[:, :, 0]
                decoded[name] += 1
    shares = {key: found / found.sum() for key, found in counts.items() if found.any()}
    return Histograms(
        splits={name: found for (kind, name), found in shares.items() if kind == "split"},
        classes={name: found for (kind, name), found in shares.items() if kind == "class"},
        averages={name: sums[name] / count for name, count in decoded.items() if count > 1},
        images=len(members),
    )


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """JPEG bytes of uint8[H, W] or uint8[H, W, 3] (RGB)."""
    shown = pixels[:, :, ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(shown), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DataError(f"A picture of shape {pixels.shape} cannot be a JPEG. Expected uint8 gray or RGB pixels.")
    return bytes(data)


def contact_sheet(pictures: dict[str | None, list[tuple[bytes, str]]]) -> np.ndarray:
    """uint8[H, W, 3]: a row a class, SAMPLES_PER_CLASS pictures a row, white where there are none."""
    step = THUMBNAIL_SIDE + 6
    sheet = np.full((max(len(pictures), 1) * step, SAMPLES_PER_CLASS * step, 3), 255, np.uint8)
    for y, row in enumerate(pictures.values()):
        for x, (data, _) in enumerate(row):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            sheet[y * step : y * step + THUMBNAIL_SIDE, x * step : x * step + THUMBNAIL_SIDE] = pixels
    return sheet
