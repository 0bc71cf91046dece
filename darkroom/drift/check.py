"""One day against the reference: a p-value a signal, one for the day, and the images most unlike the reference."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from darkroom.drift.calibration import SIGNALS, Calibration, calibrate
from darkroom.drift.images import NUMBERS, Images, images_of_rows
from darkroom.drift.reference import Reference
from darkroom.drift.report import DriftReport, Signal, State, Unlike

MIN_IMAGES = 20
MIN_REFERENCE = 50
MAX_IMAGES = 2000
SHOWN_UNLIKE = 12
_NEIGHBOURS = 5
_FAR = 8.0  # spreads; further counts as this far


def check_rows(reference: Reference | None, rows: pa.Table) -> DriftReport:
    """``check`` for rows of the predictions table; those that could not be classified are counted as unreadable."""
    images, problems = images_of_rows(rows)
    return check(reference, images, unreadable=problems)


def check(
    reference: Reference | None, images: Images, *, unreadable: int = 0, calibration: Calibration | None = None
) -> DriftReport:
    """Compares a day's images with the reference. The same arguments give the same report.

    An image that came several times counts once. Images with a number that is not finite are left out. Of more than
    2,000 images those with the smallest content ids are taken, which is a draw that is the same each time. A reference
    of fewer than 50 images, or fewer than 20 images in the day, is said and not judged. ``calibration`` saves time
    where many days of about the same size are compared with one reference.
    """
    left_out = Counter({"unreadable": unreadable})
    images = _distinct(images, left_out)
    if reference is None:
        return _unjudged(
            "no reference", "The model's package has no drift reference: train again to get one.", images, left_out
        )
    images, skipped = _comparable(reference, images, left_out)
    if len(reference) < MIN_REFERENCE:
        said = f"The drift reference holds {len(reference)} images. Expected at least {MIN_REFERENCE}: give val more."
        return _unjudged("small reference", said, images, left_out)
    if len(images) < MIN_IMAGES:
        said = f"{len(images)} images can be compared. Expected at least {MIN_IMAGES}: nothing is said of this day."
        return _unjudged("too few images", said, images, left_out)
    if len(images) > MAX_IMAGES:
        left_out["beyond 2,000"] += len(images) - MAX_IMAGES
        images = images.take(np.sort(np.argsort(np.array(images.ids), kind="stable")[:MAX_IMAGES]))
    calibration = calibration or calibrate(reference, len(images))
    signals = [signal for signal in calibration.signals if signal not in skipped]
    statistics = calibration.statistics(images, signals)
    single, corrected, smallest = calibration.p_values(statistics, signals)
    found = tuple(
        Signal(
            name,
            float(p),
            float(q),
            float(value),
            float(np.quantile(calibration.null[:, calibration.signals.index(name)], 0.95)),
            *_in_words(reference, images, name),
        )
        for name, p, q, value in zip(signals, single, corrected, statistics, strict=True)
    )
    most = min(found, key=lambda signal: (signal.corrected, signal.usual / max(signal.statistic, 1e-300)))
    said = (
        f"{len(images):,} images; most unusual is {most.name} ({most.day}, reference {most.reference}), "
        f"p = {smallest:.4f} over all {len(found)} signals."
    )
    return DriftReport(
        "checked",
        said,
        len(images),
        dict(+left_out),
        smallest,
        found,
        skipped,
        most_unlike(reference, images),
    )


def most_unlike(reference: Reference, images: Images, count: int = SHOWN_UNLIKE) -> tuple[Unlike, ...]:
    """The images furthest from the reference, by the embedding or by sizes and intensities, whichever is further.

    Far is the mean distance to the five nearest reference images, as a multiple of what 95 % of the reference's own
    images have at most.
    """
    known, found = _parts(reference, reference.images), _parts(reference, images)
    own, ours = [], []
    for name in found:
        inside = _nearest(known[name], known[name], own=True)
        usual = max(float(np.quantile(inside, 0.95)), 1e-9)
        own.append(inside / usual)
        ours.append(_nearest(found[name], known[name], own=False) / usual)
    ordered, distances = np.sort(np.max(own, axis=0)), np.max(ours, axis=0)
    furthest = np.argmax(ours, axis=0)
    return tuple(
        Unlike(
            images.ids[row],
            float(distances[row]),
            list(found)[furthest[row]],
            float(np.searchsorted(ordered, distances[row]) / len(ordered)),
        )
        for row in np.argsort(-distances, kind="stable")[:count].tolist()
    )


def _unjudged(state: State, said: str, images: Images, left_out: Counter[str]) -> DriftReport:
    return DriftReport(state, said, len(images), dict(+left_out))


def _distinct(images: Images, left_out: Counter[str]) -> Images:
    _, first = np.unique(np.array(images.ids, dtype=np.str_), return_index=True)
    left_out["repeated"] += len(images) - len(first)
    return images.take(np.sort(first))


def _comparable(reference: Reference, images: Images, left_out: Counter[str]) -> tuple[Images, dict[str, str]]:
    """The images with every number that the reference knows, and the signals that have to be skipped."""
    skipped = {
        signal: "the reference does not know it"
        for signal, source in SIGNALS.items()
        if (source in NUMBERS and not np.isfinite(reference.images.numbers[:, NUMBERS.index(source)]).all())
        or (source == "mode" and not reference.images.mode.astype(bool).any())
    }
    features = images.features
    assert reference.images.features is not None
    if features is None:
        skipped["embedding"] = "the day's rows hold no embedding"
    elif features.shape[1] != reference.images.features.shape[1]:
        skipped["embedding"] = f"the day's embeddings have {features.shape[1]} numbers: another model's"
        images = images.without_features()
    usable = np.isfinite(images.score)
    for column, source in enumerate(NUMBERS):
        values = images.numbers[:, column]
        signal = next(name for name, compared in SIGNALS.items() if compared == source)
        if len(values) and not np.isfinite(values).any():
            skipped.setdefault(signal, "the day's rows do not hold it")
        elif signal not in skipped:
            usable &= np.isfinite(values)
    if images.features is not None:
        usable &= np.isfinite(images.features).all(axis=1)
    left_out["not finite"] += int((~usable).sum())
    return images.take(np.flatnonzero(usable)), skipped


def _parts(reference: Reference, images: Images) -> dict[str, np.ndarray]:
    """What distances are taken over, float32[N, K] each; measurements in spreads of the reference, unknown as usual."""
    known = np.nan_to_num(reference.images.numbers)
    middle = np.median(known, axis=0)
    low, high = np.quantile(known, [0.16, 0.84], axis=0)
    spread = np.maximum((high - low) / 2, 0.02 * np.abs(middle) + 1e-3)
    numbers = np.clip(np.nan_to_num((images.numbers - middle) / spread), -_FAR, _FAR)
    parts = {"measurements": numbers.astype(np.float32)}
    return parts if images.features is None else {"embedding": images.features} | parts


def _nearest(points: np.ndarray, known: np.ndarray, *, own: bool) -> np.ndarray:
    """float64[N]: the mean distance of each point to its five nearest known ones, itself left out where ``own``."""
    squares = (points**2).sum(1)[:, None] + (known**2).sum(1)[None, :] - 2 * points @ known.T
    distances = np.sqrt(np.maximum(squares, 0))
    if own:
        np.fill_diagonal(distances, np.inf)
    count = min(_NEIGHBOURS, distances.shape[1] - own)
    return np.partition(distances, count - 1, axis=1)[:, :count].mean(axis=1, dtype=np.float64)


def _in_words(reference: Reference, images: Images, signal: str) -> tuple[str, str]:
    return _described(reference.images, signal), _described(images, signal)


def _described(images: Images, signal: str) -> str:
    source = SIGNALS[signal]
    if source == "embedding":
        return "its own spread"
    if source in ("mode", "label"):
        values = images.mode if source == "mode" else images.label
        common = Counter(values.tolist()).most_common(3)
        return ", ".join(f"{name or 'unknown'} {number / len(images):.0%}" for name, number in common)
    values = images.score if source == "score" else images.numbers[:, NUMBERS.index(source)]
    return f"median {float(np.median(values)):,.3g}" if source == "score" else f"median {float(np.median(values)):,.0f}"
