"""The images of a split as vectors of features, for kinds of models that learn from those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.errors import DataError
from darkroom.features import FittedFeatures, Raws
from training.data import Rows


@dataclass(frozen=True)
class Vectors:
    """Images as vectors, in the order of content_id.

    ``values`` float32[N, D]; ``truth`` int64[N], indices into ``classes``; ``weight`` float64[N], what an image counts
    with all its copies; ``group`` of each image.
    """

    content_ids: list[str]
    values: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    group: list[str]
    classes: tuple[str, ...]


def weights_of(rows: Rows) -> np.ndarray:
    """float64[N], what each image counts with all its copies. Raises DataError where no image of a class counts."""
    weight = rows.weight * rows.copies
    for position, name in enumerate(rows.classes):
        its = weight[rows.truth == position]
        if len(its) and not (its > 0).any():
            raise DataError(
                f"All {len(its):,} images of {name} weigh 0. Expected some that weigh more. Rebalance the split again."
            )
    return weight


def vectors_of(rows: Rows, raws: Sequence[Raws], fitted: FittedFeatures) -> Vectors:
    """The images of one part of a split; those that weigh nothing are left out.

    Raises DataError for a feature that is no number, and where no image of a class has a weight.
    """
    weight = weights_of(rows)
    values = fitted.encode(raws)
    wrong = ~np.isfinite(values)
    if wrong.any():
        names, (row, column) = fitted.names(), np.argwhere(wrong)[0]
        raise DataError(
            f"{int(wrong.any(axis=1).sum()):,} images have features that are no numbers, {rows.content_ids[row][:12]} "
            f"among them ({names[column]} is {values[row, column]}). Expected finite ones. Remove those images, or "
            "choose another feature."
        )
    kept = np.flatnonzero(weight > 0)
    return Vectors(
        [rows.content_ids[row] for row in kept],
        values[kept],
        rows.truth[kept],
        weight[kept],
        [rows.group[row] for row in kept],
        rows.classes,
    )
