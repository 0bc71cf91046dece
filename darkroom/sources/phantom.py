"""The bundled sample: synthetic chest radiographs in the layout, and with the dirt, of a well-known real set.

The set imitated is paultimothymooney/chest-xray-pneumonia on Kaggle (Kermany et al. 2018, doi 10.17632/rscbjbr9sj):
its directories, file names, imbalance, tiny val split, sizes, and its faults. Files come in blocks of 200; every block
is planned from (seed, block) alone and every file drawn from (seed, index) alone, so any number can be streamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from darkroom.sources.config import PhantomSource
from darkroom.sources.phantom_render import Appearance, encode, render

BLOCK = 200
_TEST, _TEST_NORMAL = 30, 8  # a block's images in the given test split
_VAL, _VAL_NORMAL = 16, 8  # in the whole set, as in the real one: all in the first block
_IMBALANCE = 2.9  # pneumonia images for each normal one in train
_NORMAL, _PNEUMONIA = "NORMAL", "PNEUMONIA"
_TEXT = b"This file is named like an image and is none.\n"
_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"


@dataclass(frozen=True)
class Planned:
    """One file of the set, before it is drawn.

    ``quirk`` is None for an ordinary image, otherwise exact | near | contradiction | truncated | empty | text | page.
    ``source`` is the index of the file that a duplicate repeats, otherwise the file's own.
    """

    index: int
    path: str
    finding: str | None
    patient: int
    quirk: str | None
    source: int


def phantom_images(options: PhantomSource) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file, in order, one at a time."""
    for planned in phantom_plan(options):
        yield planned.path, draw(options, planned)


def phantom_plan(options: PhantomSource) -> Iterator[Planned]:
    """What each file will be, in order, without drawing it."""
    for start in range(0, options.images, BLOCK):
        yield from _block(options.seed, start // BLOCK)[: options.images - start]


def draw(options: PhantomSource, planned: Planned) -> bytes:
    """The bytes of one planned file."""
    if planned.quirk == "empty":
        return b""
    if planned.quirk == "text":
        return _TEXT
    if planned.quirk == "page":
        return _PAGE
    look, pixels = _drawn(options, _block(options.seed, planned.source // BLOCK)[planned.source % BLOCK])
    if planned.quirk == "near":
        rng = _generator(options.seed, 4, planned.index)
        if rng.random() < 0.5:
            scale = rng.uniform(0.92, 0.98)
            size = (round(look.width * scale), round(look.height * scale))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        return encode(pixels, int(rng.integers(65, 80)))
    content = encode(pixels, look.quality)
    if planned.quirk == "truncated":
        return content[: int(len(content) * _generator(options.seed, 4, planned.index).uniform(0.2, 0.7))]
    return content


def _drawn(options: PhantomSource, planned: Planned) -> tuple[Appearance, np.ndarray]:
    rng = _generator(options.seed, 3, planned.index)
    low, high = options.size_range
    aspect = rng.uniform(1.05, 1.45)
    if planned.index == 0:
        short = high / aspect
    elif planned.index == 1:
        short = float(low)
    else:
        short = low * max(1.0, high / 1.05 / low) ** (rng.random() ** 4)
    short_side = max(low, round(short))
    long_side = min(high, round(short_side * aspect))
    width, height = (long_side, short_side) if rng.random() < 0.93 else (short_side, long_side)
    look = Appearance(planned.finding, width, height, bool(rng.random() < 0.12), int(rng.integers(82, 94)))
    return look, render(_generator(options.seed, 2, planned.patient), rng, look)


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@lru_cache(maxsize=8)
def _block(seed: int, block: int) -> tuple[Planned, ...]:
    """The plan of files block * 200 to block * 200 + 199."""
    rng = _generator(seed, 1, block)
    faults = ["truncated"] * (2 if block == 0 else 1) + (["empty", "text", "page"] if block % 5 == 0 else [])
    repeats = ["exact", "exact", "exact across", "near", "near", "near across"]
    repeats += ["contradiction"] if block % 10 == 0 else []
    val = _VAL if block == 0 else 0
    train = BLOCK - _TEST - val - len(faults) - len(repeats)
    normal = round(train / (1 + _IMBALANCE))
    builder = _Builder(block, rng)
    builder.patients("test", _NORMAL, _TEST_NORMAL)
    builder.patients("test", _PNEUMONIA, _TEST - _TEST_NORMAL)
    if val:
        builder.patients("val", _NORMAL, _VAL_NORMAL)
        builder.patients("val", _PNEUMONIA, _VAL - _VAL_NORMAL)
    builder.patients("train", _NORMAL, normal)
    builder.patients("train", _PNEUMONIA, train - normal)
    builder.repeats(repeats)
    builder.faults(faults)
    return builder.shuffled()


@dataclass(frozen=True)
class _Draft:
    split: str
    label: str
    name: str
    finding: str | None
    patient: int
    quirk: str | None = None
    source: int | None = None  # position among the drafts


class _Builder:
    """Collects the drafts of one block, then gives them their places."""

    def __init__(self, block: int, rng: np.random.Generator) -> None:
        self._block, self._rng = block, rng
        self._places = block * BLOCK + rng.permutation(BLOCK)
        self._drafts: list[_Draft] = []
        self._patients = 0

    def patients(self, split: str, label: str, images: int) -> None:
        """``images`` files of new patients, one to four of each."""
        while images > 0:
            taken = min(images, int(self._rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])))
            finding = None if label == _NORMAL else str(self._rng.choice(["bacteria", "virus"], p=[0.6, 0.4]))
            patient, first = self._next_patient(), bool(self._rng.random() < 0.5)
            for number in range(taken):
                name = self._name(finding, patient, number, first)
                self._drafts.append(_Draft(split, label, name, finding, patient))
            images -= taken

    def repeats(self, kinds: list[str]) -> None:
        """Files that repeat an earlier one of train: beside it, in test, or under the other class."""
        ordinary = [i for i, draft in enumerate(self._drafts) if draft.split == "train"]
        chosen = self._rng.choice(ordinary, len(kinds), replace=False)
        sick = [i for i in ordinary if self._drafts[i].label == _PNEUMONIA and i not in set(chosen.tolist())]
        for kind, place in zip(kinds, chosen.tolist(), strict=True):
            quirk = kind.split()[0]
            source = int(sick[0]) if quirk == "contradiction" else int(place)
            original, patient = self._drafts[source], self._next_patient()
            split = "test" if kind.endswith("across") else "train"
            finding = None if quirk == "contradiction" else original.finding
            label = _NORMAL if quirk == "contradiction" else original.label
            name = self._name(finding, patient, 0, first=True)
            self._drafts.append(_Draft(split, label, name, original.finding, original.patient, quirk, source))

    def faults(self, kinds: list[str]) -> None:
        """Files of new patients in train that are no usable images."""
        for kind in kinds:
            patient = self._next_patient()
            label, finding = (_PNEUMONIA, "bacteria") if self._rng.random() < 0.7 else (_NORMAL, None)
            name = self._name(finding, patient, 0, first=True)
            self._drafts.append(_Draft("train", label, name, finding, patient, kind))

    def shuffled(self) -> tuple[Planned, ...]:
        planned = []
        for place, draft in zip(self._places.tolist(), self._drafts, strict=True):
            source = place if draft.source is None else int(self._places[draft.source])
            path = f"chest_xray/{draft.split}/{draft.label}/{draft.name}"
            planned.append(Planned(place, path, draft.finding, draft.patient, draft.quirk, source))
        return tuple(sorted(planned, key=lambda file: file.index))

    def _next_patient(self) -> int:
        self._patients += 1
        return self._block * BLOCK + self._patients

    def _name(self, finding: str | None, patient: int, number: int, first: bool) -> str:
        """File names exactly as in the real set."""
        if finding is None:
            return f"{'' if first else 'NORMAL2-'}IM-{patient:04d}-{number + 1:04d}.jpeg"
        return f"person{patient}_{finding}_{int(self._places[len(self._drafts)]) + 1}.jpeg"
