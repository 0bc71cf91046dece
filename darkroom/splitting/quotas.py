"""How many images of each class each split gets, and which units fill it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from darkroom.contract import REASON_SURPLUS, SPLITS, TEST, TRAIN, VAL
from darkroom.errors import DataError
from darkroom.splitting.contents import Contents, Ints, hash_order
from darkroom.splitting.options import SplitOptions
from darkroom.splitting.units import FREE, NUMBER

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classes:
    """The classes in sorted order, and each content's class as a number (-1: not usable)."""

    names: list[str]
    code: Ints

    @classmethod
    def of(cls, contents: Contents) -> Classes:
        labels = contents.rows["label"].where(contents.usable, None)
        code, names = pd.factorize(labels, sort=True)
        return cls([str(name) for name in names], code.astype(np.int64))

    def table(self, split: Ints) -> Ints:
        """Images by class and split, int64[classes, 3]."""
        placed = (split != FREE) & (self.code >= 0)
        counts = np.zeros((len(self.names), 3), dtype=np.int64)
        np.add.at(counts, (self.code[placed], split[placed]), 1)
        return counts

    @property
    def sizes(self) -> Ints:
        return np.bincount(self.code[self.code >= 0], minlength=len(self.names))


def targets(classes: Classes, split: Ints, options: SplitOptions) -> Ints:
    """Images wanted by class and split, int64[classes, 3]; ``split`` holds what is placed already.

    Each split is shared over the classes by largest remainders, so that its total is right even with many small
    classes; then no split falls below the minimum of a class. Raises DataError when a class is too small.
    """
    sizes, placed = classes.sizes, classes.table(split)
    fixed = placed[:, NUMBER[TEST]] if options.keep_given_test else np.zeros_like(sizes)
    free = sizes - fixed
    _check_sizes(classes, free, options)
    wanted = np.zeros((len(sizes), 3), dtype=np.int64)
    for name in (VAL, TEST):
        wanted[:, NUMBER[name]] = _shared(free, _total(name, int(free.sum()), options))
    train_total = _total(TRAIN, int(free.sum()), options)
    rest = free - wanted.sum(axis=1)
    if options.counts is not None and train_total < rest.sum():
        wanted[:, NUMBER[TRAIN]] = np.minimum(_shared(free, train_total), rest)
    else:
        wanted[:, NUMBER[TRAIN]] = rest
    return _at_least(wanted, options) + np.where(np.arange(3) == NUMBER[TEST], fixed[:, None], 0)


def assign(contents: Contents, classes: Classes, units: Ints, split: Ints, options: SplitOptions) -> Ints:
    """Places every unit that is in no split yet; returns the splits, int64[contents].

    A unit belongs to the rarest class among its images. Class by class, the rarest first, its free units stand in
    the order of a hash of (smallest content_id, seed); units larger than a whole quota stand last. The first ones
    fill what test lacks, the next what val lacks, and the others are train. So with a parent the new images even out
    what is missing, and nobody's place depends on the order of the rows.
    """
    wanted, split = targets(classes, split, options), split.copy()
    free = np.flatnonzero((split == FREE) & contents.usable)
    if not len(free):
        return split
    frame = pd.DataFrame({"content": free, "unit": units[free], "code": classes.code[free]})
    by_rarity = np.argsort(classes.sizes, kind="stable")
    frame["rank"] = by_rarity.argsort()[frame["code"]]
    frame["stratum"] = frame.groupby("unit")["rank"].transform("min")
    found = frame.groupby("unit", sort=True).agg(first=("content", "min"), stratum=("stratum", "first"))
    inside = frame[frame["rank"] == frame["stratum"]].groupby("unit", sort=True).size()
    found["size"] = inside.reindex(found.index).to_numpy()
    found["key"] = hash_order(contents.rows["content_id"].to_numpy()[found["first"]], options.seed, "split")
    counts = classes.table(split)
    members = dict(iter(frame.groupby("stratum")))
    for rank, stratum in found.groupby("stratum", sort=True):
        code = int(by_rarity[int(stratum["stratum"].iloc[0])])
        minimum = options.minimum_per_class - counts[code]
        chosen = _fill(stratum, wanted[code] - counts[code], minimum, surplus=options.counts is not None)
        these = members[rank]
        place = chosen.reindex(these["unit"]).to_numpy(np.int64)
        split[these["content"]] = place
        np.add.at(counts, (these["code"].to_numpy()[place != FREE], place[place != FREE]), 1)
    contents.leave_out((split == FREE) & contents.usable, REASON_SURPLUS)
    return split


def check_minimum(classes: Classes, units: Ints, split: Ints, options: SplitOptions) -> None:
    """Raises DataError when a class falls below its minimum in a split, with every such class and its counts."""
    counts = classes.table(split)
    short = np.flatnonzero((counts < options.minimum_per_class).any(axis=1))
    if not len(short):
        return
    told = []
    for code in short[:10]:
        per_split = ", ".join(f"{name} {counts[code, NUMBER[name]]:,}" for name in SPLITS)
        together = len(np.unique(units[classes.code == code]))
        told.append(f"{classes.names[code]!r} has {per_split} (its images form {together:,} units that stay whole)")
    more = f"; and {len(short) - 10} more classes" if len(short) > 10 else ""
    given = " The given test split is kept, so its images cannot be moved." if options.keep_given_test else ""
    raise DataError(
        f"The split leaves too few images of some classes: {'; '.join(told)}{more}. Expected at least "
        f"{options.minimum_per_class} of each class in each of train, val and test.{given} Add images, or lower "
        "minimum_per_class."
    )


def _total(name: str, free: int, options: SplitOptions) -> int:
    """The images that a split gets in all, of ``free`` that can be placed."""
    if options.counts is None:
        return round(options.share(name) * free)
    asked = {TRAIN: options.counts.train, VAL: options.counts.val, TEST: options.counts.test or 0}
    known = sum(count or 0 for count in asked.values())
    if known > free or (asked[TRAIN] is None and known >= free):
        told = ", ".join(f"{split} {count:,}" for split, count in asked.items() if count)
        raise DataError(
            f"The counts ask for {told}, {known:,} images in all; {free:,} usable images can be placed. Ask for fewer, "
            "or add images."
        )
    count = asked[name]
    return free - known if count is None else count


def _shared(sizes: Ints, total: int) -> Ints:
    """``total`` shared in proportion to ``sizes`` by largest remainders (Hamilton's method); ties by position."""
    exact = sizes * (total / max(int(sizes.sum()), 1))
    whole = np.floor(exact).astype(np.int64)
    order = np.lexsort((np.arange(len(sizes)), -(exact - whole)))
    whole[order[: total - int(whole.sum())]] += 1
    return whole


def _at_least(wanted: Ints, options: SplitOptions) -> Ints:
    movable = [NUMBER[name] for name in SPLITS if not (options.keep_given_test and name == TEST)]
    raised = wanted.copy()
    raised[:, movable] = np.maximum(wanted[:, movable], options.minimum_per_class)
    excess = np.maximum(raised.sum(axis=1) - wanted.sum(axis=1), 0)
    for number in movable:
        given = np.minimum(excess, raised[:, number] - options.minimum_per_class)
        raised[:, number] -= given
        excess -= given
    return raised


def _check_sizes(classes: Classes, free: Ints, options: SplitOptions) -> None:
    splits = [name for name in SPLITS if not (options.keep_given_test and name == TEST)]
    need = options.minimum_per_class * len(splits)
    short = np.flatnonzero(free < need)
    if not len(short):
        return
    told = ", ".join(f"{classes.names[code]!r} has {free[code]:,}" for code in short[:10])
    more = f", and {len(short) - 10} more classes have too few" if len(short) > 10 else ""
    outside = " outside the given test split" if options.keep_given_test else ""
    raise DataError(
        f"There are too few usable images{outside} to fill every split: {told}{more}. Expected at least {need} of each "
        f"class, {options.minimum_per_class} for each of {', '.join(splits)}. Add images of the smaller classes."
    )


def _fill(stratum: pd.DataFrame, lacking: Ints, minimum: Ints, *, surplus: bool) -> pd.Series:
    """The split of each unit (FREE: none), by unit. ``stratum`` has key and size, a row a unit."""
    quotas = [int(lacking[NUMBER[name]]) for name in (TEST, VAL) if lacking[NUMBER[name]] > 0]
    large = stratum["size"] > max(1, min(quotas, default=1))
    order = np.lexsort((stratum.index.to_numpy(), stratum["key"].to_numpy(), stratum["size"].where(large, 0), large))
    total = np.concatenate([[0], np.cumsum(stratum["size"].to_numpy()[order])])
    chosen = np.full(len(stratum), NUMBER[TRAIN] if not surplus else FREE, dtype=np.int64)
    start = 0
    for name in (TEST, VAL) if not surplus else (TEST, VAL, TRAIN):
        end = _end(total, start, int(lacking[NUMBER[name]]), int(minimum[NUMBER[name]]))
        chosen[order[start:end]] = NUMBER[name]
        start = end
    return pd.Series(chosen, index=stratum.index)


def _end(total: Ints, start: int, quota: int, minimum: int) -> int:
    """Where a run of units from ``start`` ends so that its size comes nearest to the quota, not below the minimum."""
    if quota <= 0 and minimum <= 0:
        return start
    after = int(np.searchsorted(total, total[start] + quota, side="left"))
    after = max(min(after, len(total) - 1), start)
    before = max(after - 1, start)
    end = after if total[after] - total[start] - quota < quota - (total[before] - total[start]) else before
    if total[end] - total[start] < minimum:
        end = int(np.searchsorted(total, total[start] + minimum, side="left"))
    return min(end, len(total) - 1)
