"""Where the simulated images come from: an archive, a scanner that delivers every day, and doctors who know better."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from darkroom.contract import feedback_folder, inbox, inbox_binding
from darkroom.sources.config import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.storage import Storage

DATASET = FEED = "thorax"
CLASSES = ("NORMAL", "PNEUMONIA")
_SIZES = (200, 500)
_MANY = 100_000  # phantoms are planned in blocks and drawn one by one: nobody draws so many


class Hospital:
    """Delivers phantoms. Equal seeds deliver equal images; ``truth`` holds the label of each by its SHA-256."""

    def __init__(self, lake: Storage, archive: Path, seed: int) -> None:
        self.lake, self.archive = lake, archive
        self.truth: dict[str, str] = {}
        self.worn_out = False  # the scanner's tube: dark and blurred
        self._seed = seed
        self._scans = self._ordinary()
        self._number = 0

    def fill_archive(self, images: int) -> None:
        """Lets the folder that the dataset is prepared from hold so many files, dirt and duplicates included."""
        options = PhantomSource(images=images, seed=self._seed, size_range=_SIZES)
        for planned in phantom_plan(options):
            path = self.archive / planned.path
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw(options, planned))

    def _ordinary(self) -> Iterator[tuple[str, bytes]]:
        options = PhantomSource(images=_MANY, seed=self._seed + 1, size_range=_SIZES)
        for planned in phantom_plan(options):
            if planned.quirk is None:
                yield PurePosixPath(planned.path).parent.name, draw(options, planned)

    def deliver(self, dt: str, images: int, *, broken: bool = False) -> None:
        """Puts the day's scans into the inbox of their date; one more is cut off where ``broken``."""
        self.lake.write(inbox_binding(FEED), json.dumps({"model": DATASET}).encode())
        for _ in range(images):
            self.scan(dt)
        if broken:
            self.lake.write(f"{inbox(FEED, dt)}/cut-off.jpeg", next(self._scans)[1][:700])
        self.lake.write(f"{inbox(FEED, dt)}/_SUCCESS", b"")

    def scan(self, dt: str, name: str = "") -> str:
        """One more image in the inbox of a date, under a name of its own or in place of a known one; the name."""
        label, data = next(self._scans)
        data = _dark_and_blurred(data) if self.worn_out else data
        self._number += 1
        name = name or f"scan-{self._number:05d}.jpeg"
        self.truth[hashlib.sha256(data).hexdigest()] = label
        self.lake.write(f"{inbox(FEED, dt)}/{name}", data)
        return name

    def tell(self, name: str, author: str, at: str, labels: Iterable[tuple[str, str]]) -> None:
        """Drops a CSV with what someone says of images, as (image_id, label)."""
        sheet = io.StringIO()
        writer = csv.writer(sheet)
        writer.writerow(("image_id", "label", "author", "at"))
        writer.writerows((image_id, label, author, at) for image_id, label in labels)
        self.lake.write(f"{feedback_folder(DATASET)}/{name}.csv", sheet.getvalue().encode())


def _dark_and_blurred(data: bytes) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    worn = cv2.GaussianBlur(cv2.convertScaleAbs(pixels, alpha=0.55), (0, 0), 2.5)
    return bytes(cv2.imencode(".jpg", worn, [cv2.IMWRITE_JPEG_QUALITY, 88])[1])
