"""What chance does: the same statistics on thousands of days drawn from the reference itself.

Every signal is a function of a mean over a day's images: each image becomes a row of numbers (``Encoder``), a day the
mean of its rows, and a signal the weighted squared distance between the day's mean and the reference's.

Days are drawn by a Bayesian bootstrap (Rubin 1981, doi 10.1214/aos/1176345338): the population gets weights that the
reference leaves open, and a day is drawn from it, both by whole groups. So the draws vary as much as a real day does
against this reference, however small either is. One more group stands for what the reference has not happened to show
(another mode, a width beyond all seen), so that one odd image among hundreds is no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from darkroom.drift.images import NUMBERS, Images
from darkroom.drift.reference import Reference

ROUNDS = 10_000
_LEVELS = np.arange(1, 16) / 16
_WAVES = 256
_CHUNK = 1000
_MAX_LABELS = 64
_LEAST_VARIANCE = 0.02  # of a share: that of one of about 2 %

SIGNALS = {
    "brightness": "mean",
    "contrast": "std",
    "darkest": "min",
    "brightest": "max",
    "width": "width",
    "height": "height",
    "file size": "size_bytes",
    "mode": "mode",
    "embedding": "embedding",
    "score": "score",
    "label": "label",
}
"""The signals and what each compares."""


@dataclass(frozen=True)
class _Block:
    """The columns of one signal: where they are, and what their squared distances are divided by."""

    signal: str
    start: int
    end: int
    weight: np.ndarray


class Encoder:
    """Turns images into rows whose means are compared, as the reference says; float32[N, columns]."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        images = reference.images
        numbers = [*images.numbers.T, images.score]
        self._grids = {
            name: np.unique(np.quantile(values, _LEVELS))
            for name, values in zip((*NUMBERS, "score"), numbers, strict=True)
            if np.isfinite(values).all()
        }
        self._kinds = {"mode": _common(images.mode), "label": _common(images.label)}
        if not images.mode.astype(bool).any():
            del self._kinds["mode"]
        self._frequencies = _waves(images.features)

    @property
    def signals(self) -> list[str]:
        """What the reference can be compared by, in the order of SIGNALS."""
        known = {*self._grids, *self._kinds, "embedding"}
        return [signal for signal, source in SIGNALS.items() if source in known]

    def encode(self, images: Images, signals: list[str]) -> tuple[np.ndarray, list[slice]]:
        """The rows of the images, and which columns belong to each of the signals."""
        parts = [self._part(images, SIGNALS[signal]) for signal in signals]
        ends = np.cumsum([part.shape[1] for part in parts]).tolist()
        slices = [slice(end - part.shape[1], end) for end, part in zip(ends, parts, strict=True)]
        return np.concatenate(parts, axis=1).astype(np.float32), slices

    def unseen(self, signals: list[str]) -> np.ndarray:
        """float32[2, columns]: an image below and one above everything, of a mode and label never seen."""
        rows = []
        for signal in signals:
            source = SIGNALS[signal]
            if source in self._grids:
                rows.append(np.repeat([[1.0], [0.0]], len(self._grids[source]), axis=1))
            elif source in self._kinds:
                other = np.zeros(len(self._kinds[source]) + 1)
                other[-1] = 1.0
                rows.append(np.stack([other, other]))
            else:
                rows.append(np.zeros((2, 2 * _WAVES)))
        return np.concatenate(rows, axis=1).astype(np.float32)

    def _part(self, images: Images, source: str) -> np.ndarray:
        if source in self._kinds:
            values = images.mode if source == "mode" else images.label
            seen = values[:, None] == self._kinds[source][None, :]
            return np.column_stack([seen, ~seen.any(axis=1)])
        if source == "embedding":
            assert images.features is not None
            angles = images.features @ self._frequencies
            return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(_WAVES)
        values = images.score if source == "score" else images.numbers[:, NUMBERS.index(source)]
        grid = self._grids[source]
        # Half for a value on the grid, so that columns with few distinct values are treated alike on both sides.
        return ((values[:, None] < grid).astype(np.float32) + (values[:, None] <= grid)) / 2


@dataclass(frozen=True)
class Calibration:
    """The statistics of undrifted days of one size: ``null`` float32[rounds, signals], each column sorted upwards;
    ``exceeding`` int32[rounds, signals], how many draws reach each draw's statistic."""

    encoder: Encoder
    signals: list[str]
    images: int
    null: np.ndarray
    exceeding: np.ndarray
    _center: np.ndarray
    _weight: np.ndarray
    _slices: list[slice]

    def statistics(self, images: Images, signals: list[str]) -> np.ndarray:
        """float64[signals] of one day."""
        rows, slices = self.encoder.encode(images, signals)
        return self.distances(rows.mean(axis=0, dtype=np.float64), signals, slices)

    def distances(self, mean: np.ndarray, signals: list[str], slices: list[slice]) -> np.ndarray:
        """float64[signals] of a day whose encoded rows have this mean; ``slices`` as ``Encoder.encode`` gave them."""
        found = np.empty(len(signals))
        for position, (signal, place) in enumerate(zip(signals, slices, strict=True)):
            ours = self._slices[self.signals.index(signal)]
            found[position] = (((mean[place] - self._center[ours]) ** 2) * self._weight[ours]).sum()
        return found

    def p_values(self, statistics: np.ndarray, signals: list[str]) -> tuple[np.ndarray, np.ndarray, float]:
        """For each signal its p-value, and the one corrected for looking at all of them; last the smallest corrected.

        Corrected by the smallest p-value of each draw (Westfall and Young 1993, single step), which takes into account
        that signals move together.
        """
        columns = [self.signals.index(signal) for signal in signals]
        rounds = len(self.null)
        reaching = np.array(
            [
                rounds - np.searchsorted(self.null[:, k], t, side="left")
                for k, t in zip(columns, statistics, strict=True)
            ]
        )
        smallest = self.exceeding[:, columns].min(axis=1)
        single = (1 + reaching) / (rounds + 1)
        corrected = (1 + (smallest[:, None] <= reaching).sum(axis=0)) / (rounds + 1)
        return single, corrected, float(corrected.min())


def calibrate(reference: Reference, images: int, *, rounds: int = ROUNDS, seed: int = 0) -> Calibration:
    """Draws ``rounds`` undrifted days of about ``images`` images each; equal arguments give equal results."""
    encoder = Encoder(reference)
    signals = encoder.signals
    rows, slices = encoder.encode(reference.images, signals)
    center = rows.mean(axis=0, dtype=np.float64)
    groups = reference.groups
    sums = np.zeros((groups + 2, rows.shape[1]), dtype=np.float32)
    np.add.at(sums, reference.group, rows)
    sizes = np.concatenate([np.bincount(reference.group, minlength=groups), [len(rows) / groups] * 2])
    sums[-2:] = encoder.unseen(signals) * sizes[-1]
    # How much a column varies, what was never seen included: a column without any spread has a floor.
    weight = 1 / _variance(rows, encoder.unseen(signals), groups)
    for signal, place in zip(signals, slices, strict=True):
        if signal == "embedding":
            weight[place] = 1.0
        if signal in ("mode", "label"):  # else kinds that were never seen would drown the shares of those that were
            weight[place] = np.minimum(weight[place], 1 / _LEAST_VARIANCE)
        weight[place] /= place.stop - place.start
    null = np.empty((rounds, len(signals)), dtype=np.float32)
    rng = np.random.default_rng(seed)
    rate = images / len(rows)
    for start in range(0, rounds, _CHUNK):
        count = min(_CHUNK, rounds - start)
        # A gamma weight a group, then a Poisson number of draws: together a negative binomial number.
        drawn = np.empty((count, groups + 2), dtype=np.float32)
        drawn[:, :groups] = rng.geometric(1 / (1 + rate), size=(count, groups)) - 1
        drawn[:, groups:] = rng.negative_binomial(0.5, 1 / (1 + rate), size=(count, 2))
        total = np.maximum(drawn @ sizes.astype(np.float32), 1)
        squared = (drawn @ sums / total[:, None] - center.astype(np.float32)) ** 2 * weight.astype(np.float32)
        for column, place in enumerate(slices):
            null[start : start + count, column] = squared[:, place].sum(axis=1)
    ordered = np.sort(null, axis=0)
    exceeding = np.empty(null.shape, dtype=np.int32)
    for column in range(len(signals)):
        exceeding[:, column] = rounds - np.searchsorted(ordered[:, column], null[:, column], side="left")
    return Calibration(encoder, signals, images, ordered, exceeding, center, weight, slices)


def _variance(rows: np.ndarray, unseen: np.ndarray, groups: int) -> np.ndarray:
    """float64[columns]: the variance over the reference and one group that was never seen."""
    share = 1 / (groups + 1)
    mean = (1 - share) * rows.mean(axis=0, dtype=np.float64) + share * unseen.mean(axis=0)
    square = (1 - share) * (rows.astype(np.float64) ** 2).mean(axis=0) + share * (unseen**2).mean(axis=0)
    return np.maximum(square - mean**2, 1e-12)


def _common(values: np.ndarray) -> np.ndarray:
    """The most frequent distinct values, at most 64, sorted."""
    names, counts = np.unique(values, return_counts=True)
    return np.sort(names[np.argsort(-counts, kind="stable")[:_MAX_LABELS]])


def _waves(features: np.ndarray | None) -> np.ndarray:
    """float32[K, 256]: random directions whose cosines and sines stand in for a Gaussian kernel.

    Rahimi and Recht 2007, "Random features for large-scale kernel machines": the squared distance of two means of
    such features is the squared maximum mean discrepancy (Gretton et al. 2012, JMLR 13). The kernel's width is the
    median distance between images of the reference.
    """
    assert features is not None
    rng = np.random.default_rng(0)
    some = features[rng.permutation(len(features))[:500]].astype(np.float64)
    squares = (some**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * some @ some.T, 0))
    upper = distances[np.triu_indices(len(some), 1)]
    width = float(np.median(upper)) if upper.size and np.median(upper) > 0 else 1.0
    return (rng.normal(size=(features.shape[1], _WAVES)) / width).astype(np.float32)
