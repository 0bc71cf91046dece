"""Draws synthetic chest radiographs. Nothing in them comes from a patient, and no score on them says anything medical.

A patient has an anatomy (lungs, heart, ribs, vessels); each of the patient's images varies it a little and has its own
exposure, contrast, wires and markers. The class lies in local texture: a pneumonia phantom has clumpy, mottled patches
at changing places inside the lungs; a normal one may have smooth shadows there, a little fainter on average. Exposure,
contrast, size, colour and devices are drawn from the same distributions for both classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]

CANVAS = 256  # working resolution in pixels, resized to the image's own size at the end
_AIR, _LUNG, _TISSUE = 8.0, 62.0, 138.0


@dataclass(frozen=True)
class Appearance:
    """What is drawn besides the patient's anatomy.

    ``finding`` is None (normal), "bacteria" (few large patches in one lung) or "virus" (several small ones in both).
    """

    finding: str | None
    width: int
    height: int
    color: bool
    quality: int


def render(patient: np.random.Generator, image: np.random.Generator, look: Appearance) -> NDArray[np.uint8]:
    """One radiograph, uint8[height, width] or uint8[height, width, 3]; equal generators give equal pixels."""
    canvas, lungs = _anatomy(patient)
    _opacities(canvas, lungs, image, look.finding)
    _devices(canvas, image)
    canvas = _exposed(_posed(canvas, image), image)
    return _developed(canvas, image, look)


def encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """The pixels as a JPEG file; three channels are taken as blue, green, red."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {pixels.shape}")
    return data.tobytes()


@lru_cache(maxsize=1)
def _grid() -> tuple[Canvas, Canvas]:
    """Coordinates in -1..1, as x float32[1, CANVAS] and y float32[CANVAS, 1]."""
    axis = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    return axis[None, :], axis[:, None]


@lru_cache(maxsize=1)
def _textures() -> Canvas:
    """Eight large fields of mottled noise, float32[8, 2 * CANVAS, 2 * CANVAS], mean 0 and deviation 1.

    Noise of a narrow band of scales (a difference of Gaussians): clumps of 7 to 14 canvas pixels.
    """
    rng = np.random.default_rng(20180222)
    fields = []
    for sigma in np.linspace(2.2, 3.4, 8):
        noise = rng.standard_normal((2 * CANVAS, 2 * CANVAS), dtype=np.float32)
        band = cv2.GaussianBlur(noise, (0, 0), float(sigma)) - cv2.GaussianBlur(noise, (0, 0), float(sigma) * 2.2)
        fields.append((band - band.mean()) / band.std())
    return np.stack(fields).astype(np.float32)


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.int16]:
    """Film grain, int16[2048, 2048], added at the image's own resolution."""
    rng = np.random.default_rng(20180223)
    return np.clip(rng.standard_normal((2048, 2048), dtype=np.float32) * 2.2, -7, 7).astype(np.int16)


def _ellipse(cx: float, cy: float, rx: float, ry: float, soft: float) -> Canvas:
    """1 inside, 0 outside, with a soft edge."""
    x, y = _grid()
    distance = ((x - np.float32(cx)) / np.float32(rx)) ** 2 + ((y - np.float32(cy)) / np.float32(ry)) ** 2
    return np.clip((np.float32(1) - distance) / np.float32(soft), 0, 1, dtype=np.float32)


def _anatomy(rng: np.random.Generator) -> tuple[Canvas, Canvas]:
    """A patient's chest without findings, and the soft mask of the lung fields."""
    u = rng.uniform
    x, y = _grid()
    chest = _ellipse(0, u(0.15, 0.3), u(0.92, 1.08), u(1.15, 1.35), 0.12)
    top, reach = u(-0.12, 0.0), u(0.62, 0.74)
    left = _ellipse(-u(0.40, 0.47), top, u(0.29, 0.36), reach, 0.25)
    right = _ellipse(u(0.40, 0.47), top, u(0.29, 0.36), reach * u(0.94, 1.04), 0.25)
    heart = _ellipse(u(0.08, 0.18), u(0.22, 0.36), u(0.26, 0.38), u(0.28, 0.40), 0.5)
    lungs = np.maximum(left, right) * (1 - heart)
    canvas = np.float32(_AIR) + chest * np.float32(_TISSUE + u(-8, 8))
    canvas -= lungs * np.float32(_TISSUE - _LUNG + u(-10, 10))
    canvas += heart * np.float32(u(10, 24))
    canvas += np.exp(-((x / np.float32(u(0.07, 0.10))) ** 2)) * np.float32(u(26, 42)) * (y > -2)
    canvas += _ribs(rng) * (np.float32(0.35) + np.float32(0.65) * lungs) * chest
    canvas += _vessels(rng) * lungs
    canvas += np.clip((y - np.float32(u(0.62, 0.74))) * 4, 0, 1) * chest * np.float32(u(20, 36))  # below the diaphragm
    return canvas.astype(np.float32), lungs.astype(np.float32)


def _ribs(rng: np.random.Generator) -> Canvas:
    """Curved bright bands of both sides, float32[CANVAS, CANVAS]."""
    x, y = _grid()
    pitch, bend, tilt = rng.uniform(0.19, 0.25), rng.uniform(0.28, 0.5), rng.uniform(-0.05, 0.05)
    phase = (y + np.float32(bend) * (np.abs(x) - np.float32(0.5)) ** 2 * 2 - np.float32(0.22) * np.abs(x)) + x * tilt
    wave = np.cos(phase * np.float32(2 * np.pi / pitch) + np.float32(rng.uniform(0, 6.28)))
    return np.clip(wave - np.float32(0.1), 0, 1).astype(np.float32) * np.float32(rng.uniform(16, 30))


def _vessels(rng: np.random.Generator) -> Canvas:
    """Branches that leave the middle of each lung and thin out, float32[CANVAS, CANVAS]."""
    drawn = np.zeros((CANVAS, CANVAS), np.uint8)
    for side in (-1, 1):
        for angle in np.linspace(-1.1, 1.2, 7) + rng.normal(0, 0.14, 7):
            start = np.array([CANVAS * (0.5 + side * 0.10), CANVAS * rng.uniform(0.44, 0.54)])
            heading, thick = float(angle), int(rng.integers(3, 5))
            for _ in range(3):
                heading += rng.normal(0, 0.22)
                end = start + rng.uniform(20, 32) * np.array([side * np.cos(heading), np.sin(heading)])
                cv2.line(drawn, _point(start), _point(end), int(40 + 25 * thick), thick, cv2.LINE_AA)
                start, thick = end, max(1, thick - 1)
    return cv2.GaussianBlur(drawn, (0, 0), 1.2).astype(np.float32) * np.float32(rng.uniform(0.16, 0.30))


def _opacities(canvas: Canvas, lungs: Canvas, rng: np.random.Generator, finding: str | None) -> None:
    """Adds the patches that make the class, or the smooth shadows that imitate their brightness."""
    places = np.argwhere(lungs[::8, ::8] > 0.8) * 8
    if finding == "bacteria":
        count, low, high = int(rng.integers(1, 4)), 34.0, 58.0
    elif finding == "virus":
        count, low, high = int(rng.integers(4, 8)), 22.0, 36.0
    else:
        count, low, high = int(rng.choice([0, 1, 2, 3, 4], p=[0.2, 0.25, 0.25, 0.2, 0.1])), 26.0, 56.0
    side = rng.uniform(-1, 1)
    if finding == "bacteria":  # one lung, mostly
        places = places[(places[:, 1] - CANVAS / 2) * side > 0]
    mask = np.zeros_like(canvas)
    for _ in range(count):
        cy, cx = places[int(rng.integers(len(places)))] / (CANVAS / 2) - 1
        rx, ry = rng.uniform(low, high, 2) / (CANVAS / 2)
        np.maximum(mask, _ellipse(float(cx), float(cy), float(rx), float(ry), 0.8), out=mask)
    mask *= np.clip(lungs * 1.4, 0, 1)
    canvas += mask * np.float32(rng.uniform(26, 54) if finding else rng.uniform(2, 22))
    if finding is not None:
        fields = _textures()
        field = fields[int(rng.integers(len(fields)))]
        top, left = rng.integers(0, CANVAS, 2)
        canvas += mask * field[top : top + CANVAS, left : left + CANVAS] * np.float32(rng.uniform(17, 27))


def _devices(canvas: Canvas, rng: np.random.Generator) -> None:
    """Wires, electrodes and a side marker, as often in one class as in the other."""
    drawn = np.zeros((CANVAS, CANVAS), np.uint8)
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 3))):
            points = np.cumsum(rng.normal(0, 26, (7, 2)), axis=0) + rng.uniform(50, CANVAS - 50, 2)
            cv2.polylines(drawn, [points.astype(np.int32)], False, 205.0, int(rng.integers(1, 3)), cv2.LINE_AA)
            cv2.circle(drawn, _point(points[-1]), 5, 215.0, -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        corner = (int(rng.choice([10, 222])), int(rng.integers(22, 60)))
        letter = "LR"[int(rng.integers(2))]
        cv2.putText(drawn, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 230.0, 2, cv2.LINE_AA)
    np.maximum(canvas, drawn, out=canvas)


def _posed(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Turned, shifted and scaled a little."""
    matrix = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), rng.normal(0, 2.5), rng.uniform(0.94, 1.1))
    matrix[:, 2] += rng.normal(0, 5, 2)
    posed = cv2.warpAffine(canvas, matrix, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(posed, np.float32)


def _exposed(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Another tube voltage and film: gamma, contrast, brightness and a slow gradient."""
    x, y = _grid()
    slope = rng.normal(0, 7, 2)
    scaled = np.clip(canvas / np.float32(230), 0, 1) ** np.float32(rng.uniform(0.8, 1.25))
    out = scaled * np.float32(230 * rng.uniform(0.85, 1.1)) + np.float32(rng.uniform(-6, 22))
    return (out + x * np.float32(slope[0]) + y * np.float32(slope[1])).astype(np.float32)


def _developed(canvas: Canvas, rng: np.random.Generator, look: Appearance) -> NDArray[np.uint8]:
    """At its own size, with grain, gray or (slightly tinted) colour."""
    size = (look.width, look.height)
    plain = np.clip(canvas, 0, 255).astype(np.uint8)
    pixels = cv2.resize(plain, size, interpolation=cv2.INTER_LINEAR)
    grain = _grain()
    top, left = int(rng.integers(0, 2048 - min(look.height, 2047))), int(rng.integers(0, 2048 - min(look.width, 2047)))
    piece = grain[top : top + look.height, left : left + look.width]
    pixels = cv2.add(pixels, piece, dtype=cv2.CV_8U)
    if not look.color:
        return np.asarray(pixels, np.uint8)
    tinted = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.5:
        tinted[:, :, 0] = cv2.add(tinted[:, :, 0], np.array([float(rng.integers(2, 9))]))
    return np.asarray(tinted, np.uint8)


def _point(at: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))
