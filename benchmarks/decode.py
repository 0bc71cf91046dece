"""How fast are JPEG files decoded and resized to 224 x 224, beside what limits it? Images per second of CPU time.

    python benchmarks/decode.py --images 60 --rounds 7

Every way sees the same unique images of about 1.4 MP, in memory, on one thread. The limit is libjpeg-turbo alone,
shrinking inside the DCT to the smallest size that covers the target; ours decodes twice that on a side, for its PSNR.
Peers: both with an area filter, Pillow and OpenCV as they are commonly used. Ways alternate within a round; quoted are
medians of ratios within a round, with the lowest and the highest. PSNR is against a full decode and the exact mean
over each new pixel's area.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import sys
import time
import zipfile
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from darkroom.decode import one_thread, shrink_factor
from darkroom.settings import get_settings
from darkroom.sources import PhantomSource
from darkroom.sources.phantom import draw, phantom_plan
from darkroom.transform import OVERSAMPLING, ImageTransform

SIDE = 224
PIXELS = 1_400_000
QUALITIES = (80, 85, 90, 95)
PHOTOS = "imagenet-sample-400.zip"
OURS, RAW, PILLOW = "ours", "simplejpeg, smallest over 224, no resize", "Pillow full + bilinear"
PSNR_TARGET = 44.0  # dB
LIMIT_TARGETS = {"rgb": 0.70, "gray": 0.80}
PILLOW_TARGET = 3.0

Color = Literal["rgb", "gray"]
Way = Callable[[bytes], np.ndarray]


def photos(count: int) -> list[bytes]:
    """Photographs of the sample, each once, enlarged to 1.4 MP and encoded anew; empty where the sample is absent."""
    path = get_settings().samples / PHOTOS
    if not path.is_file():
        return []
    images: list[bytes] = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(one.filename for one in archive.infolist() if not one.is_dir()):
            pixels = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if len(images) == count:
                break
            if pixels is not None:
                images.append(_encode(pixels, QUALITIES[len(images) % len(QUALITIES)]))
    return images


def phantoms(count: int) -> list[bytes]:
    """Phantom radiographs, stored gray, each once."""
    source = PhantomSource(images=round(count * 1.2) + 200, seed=0, size_range=(1000, 1400))
    ordinary = (planned for planned in phantom_plan(source) if planned.quirk is None)
    chosen = itertools.islice(ordinary, count)
    drawn = (cv2.imdecode(np.frombuffer(draw(source, one), np.uint8), cv2.IMREAD_GRAYSCALE) for one in chosen)
    return [_encode(pixels, QUALITIES[number % len(QUALITIES)]) for number, pixels in enumerate(drawn)]


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    height, width = pixels.shape[:2]
    scale = (PIXELS / (height * width)) ** 0.5
    large = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def ways_of(color: Color) -> dict[str, Way]:
    """Every way to get from the bytes of a JPEG to uint8 pixels."""
    colorspace, mode = ("RGB", "RGB") if color == "rgb" else ("GRAY", "L")

    def area(pixels: np.ndarray) -> np.ndarray:
        return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    def scaled(data: bytes) -> np.ndarray:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        factor = shrink_factor(width, height, OVERSAMPLING * SIDE, OVERSAMPLING * SIDE)
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
        return simplejpeg.decode_jpeg(np.frombuffer(data, np.uint8), colorspace=colorspace, **least)

    def smallest(data: bytes) -> np.ndarray:
        array = np.frombuffer(data, np.uint8)
        return simplejpeg.decode_jpeg(array, colorspace=colorspace, min_height=SIDE, min_width=SIDE)

    def opencv(data: bytes) -> np.ndarray:
        flag = cv2.IMREAD_COLOR if color == "rgb" else cv2.IMREAD_GRAYSCALE
        small = area(cv2.imdecode(np.frombuffer(data, np.uint8), flag))
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB) if color == "rgb" else small

    def pillow(data: bytes, resample: Image.Resampling, draft: bool = False) -> np.ndarray:
        image = Image.open(io.BytesIO(data))
        if draft:
            image.draft(mode, (SIDE, SIDE))
        return np.asarray(image.convert(mode).resize((SIDE, SIDE), resample))

    return {
        OURS: ImageTransform(width=SIDE, height=SIDE, color=color).apply,
        "simplejpeg at ours' scale, no resize": scaled,
        "simplejpeg at ours' scale + area": lambda data: area(scaled(data)),
        RAW: smallest,
        "simplejpeg, smallest over 224 + area": lambda data: area(smallest(data)),
        "Pillow draft + bilinear": lambda data: pillow(data, Image.Resampling.BILINEAR, draft=True),
        "OpenCV full + area": opencv,
        PILLOW: lambda data: pillow(data, Image.Resampling.BILINEAR),
        "Pillow full + box": lambda data: pillow(data, Image.Resampling.BOX),
    }


def box_means(data: bytes, color: Color) -> np.ndarray:
    """A full decode and the exact mean over each new pixel's area, without rounding: float64[224, 224, C]."""
    full = simplejpeg.decode_jpeg(data, colorspace="RGB" if color == "rgb" else "GRAY").astype(np.float64)
    for axis in (0, 1):
        length = full.shape[axis]
        edges = np.linspace(0, length, SIDE + 1)
        whole = np.minimum(edges.astype(int), length - 1)
        sums = np.insert(np.cumsum(full, axis=axis), 0, 0.0, axis=axis)
        part = (edges - whole).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        upto = np.take(sums, whole, axis=axis) + part * np.take(full, whole, axis=axis)
        full = np.diff(upto, axis=axis) * SIDE / length
    return full


def psnr(pixels: np.ndarray, exact: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB."""
    error = np.mean((pixels.reshape(exact.shape).astype(np.float64) - exact) ** 2)
    return float(10 * np.log10(255.0**2 / error))


def spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def measure(images: list[bytes], color: Color, rounds: int) -> dict[str, Any]:
    """Speeds in images per second of CPU time, ratios of ours to every other way, and PSNR where sizes agree."""
    ways = ways_of(color)
    quality: dict[str, list[float]] = {name: [] for name in ways}
    for data in images:  # also warms every way up
        exact = box_means(data, color)
        for name, way in ways.items():
            pixels = way(data)
            if pixels.shape[:2] == (SIDE, SIDE):
                quality[name].append(psnr(pixels, exact))
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        order = list(ways.items())
        for name, way in order if number % 2 == 0 else reversed(order):
            began = time.process_time()
            for data in images:
                way(data)
            speeds[name].append(len(images) / (time.process_time() - began))
    ratios = {
        name: spread([ours / theirs for ours, theirs in zip(speeds[OURS], values, strict=True)])
        for name, values in speeds.items()
        if name != OURS
    }
    decibels = {name: spread(values) for name, values in quality.items() if len(values) == len(images)}
    return {"images_per_cpu_second": {k: spread(v) for k, v in speeds.items()}, "ours_over": ratios, "psnr": decibels}


def show(title: str, color: Color, result: dict[str, Any]) -> dict[str, bool]:
    """Prints one table and the targets beside what was reached; returns which were reached."""
    print(f"\n{title}, to {color}")
    print(f"{'':42} {'images per CPU second':>25} {'ours / it':>22} {'PSNR dB: median, least':>24}")
    for name, speed in result["images_per_cpu_second"].items():
        ratio, decibels = result["ours_over"].get(name), result["psnr"].get(name)
        shown = [f"{speed['median']:,.0f} ({speed['min']:,.0f} to {speed['max']:,.0f})"]
        shown.append(f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else "")
        shown.append(f"{decibels['median']:.1f}, {decibels['min']:.1f}" if decibels else "")
        print(f"{name:42} {shown[0]:>25} {shown[1]:>22} {shown[2]:>24}")
    targets = [
        ("limit", f"ours / {RAW}", result["ours_over"][RAW]["median"], LIMIT_TARGETS[color]),
        ("pillow", f"ours / {PILLOW}", result["ours_over"][PILLOW]["median"], PILLOW_TARGET),
        ("psnr", "PSNR of ours, dB, median over the images", result["psnr"][OURS]["median"], PSNR_TARGET),
    ]
    for _, what, value, target in targets:
        print(f"{what:50} {value:6.2f}   target {target:5.2f}   {'reached' if value >= target else 'missed'}")
    return {key: bool(value >= target) for key, _, value, target in targets}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60, help="unique images of each set")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    one_thread()
    sets = {
        f"photographs of {PHOTOS}, enlarged": photos(options.images),
        "phantom radiographs": phantoms(options.images),
    }
    used = {name: images for name, images in sets.items() if images}
    described = "; ".join(
        f"{len(images)} {name} ({sum(map(len, images)) / len(images) / 1e3:,.0f} kB each)"
        for name, images in used.items()
    )
    print(f"1.4 MP JPEGs: {described}; {options.rounds} rounds, one thread, load {os.getloadavg()[0]:.1f}")
    if len(used) < len(sets):
        print(f"Left out: {PHOTOS} is not in the folder of samples.")
    figures: list[dict[str, Any]] = []
    for name, images in used.items():
        for color in ("rgb", "gray"):
            result = measure(images, color, options.rounds)
            reached = show(name, color, result)
            figures.append({"set": name, "images": len(images), "color": color, **result, "reached": reached})
    print()
    print(json.dumps({"benchmark": "decode", "rounds": options.rounds, "load": os.getloadavg()[0], "results": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
