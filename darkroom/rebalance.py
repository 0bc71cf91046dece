"""Rebalancing of the train split: class weights, oversampling, undersampling. Val and test are never touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from darkroom.contract import OUT, REASON_UNDERSAMPLED, TRAIN
from darkroom.splitting.contents import hash_order
from darkroom.splitting.options import Rebalance


def rebalance(rows: pd.DataFrame, method: Rebalance, seed: int) -> dict[str, Any]:
    """Sets ``weight`` and ``copies`` of the train rows in place, or moves train rows out; returns a log of it.

    ``rows`` has content_id, label, split, reason, weight (float64) and copies (int32).
    - class_weights: a train row of class c weighs n / (k * n_c), with n train rows, k classes and n_c rows of c, so
      that each class weighs the same in all (King and Zeng 2001; scikit-learn's "balanced").
    - oversample: each class is seen as often as the largest one; which rows are seen once more is decided by a hash
      of (content_id, seed).
    - undersample: each class keeps as many rows as the smallest one has, the first in hash order; the others are
      out, with that reason.
    """
    train = (rows["split"] == TRAIN).to_numpy()
    labels = rows.loc[train, "label"]
    before = _counts(labels)
    log: dict[str, Any] = {"method": method, "before": before}
    if method == "class_weights":
        weights = {label: len(labels) / (len(before) * count) for label, count in before.items()}
        rows.loc[train, "weight"] = labels.map(weights).to_numpy(np.float64)
        log["weights"] = weights
    elif method != "none":
        rank = _rank(rows.loc[train], seed)
        size = labels.map(before).to_numpy(np.int64)
        if method == "oversample":
            most = max(before.values())
            rows.loc[train, "copies"] = (most // size + (rank < most % size)).astype(np.int32)
        else:
            surplus = labels.index[rank >= min(before.values())]
            rows.loc[surplus, "split"] = OUT
            rows.loc[surplus, "reason"] = REASON_UNDERSAMPLED
    now = rows[rows["split"] == TRAIN]
    log["after"] = {str(label): int(count) for label, count in sorted(now.groupby("label")["copies"].sum().items())}
    return log


def _counts(labels: pd.Series) -> dict[str, int]:
    return {str(label): int(count) for label, count in sorted(labels.value_counts().items())}


def _rank(rows: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """Each row's place (0 is first) in the hash order of its class, int64[rows]."""
    frame = pd.DataFrame({"label": rows["label"].to_numpy(), "key": hash_order(rows["content_id"], seed, "rebalance")})
    ordered = frame.assign(content_id=rows["content_id"].to_numpy()).sort_values(["label", "key", "content_id"])
    return np.asarray(ordered.groupby("label").cumcount().sort_index(), dtype=np.int64)
