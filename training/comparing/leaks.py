"""What a metric would have been on the split that the source gave, with the leaks that are in it.

Never used to choose or to promote anything: it shows on request how much too good a leaky split looks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from darkroom.contract import (
    OUT,
    SPLITS_SCHEMA,
    TAKEN_BACK,
    TEST,
    TRAIN,
    VAL,
    images_table,
    splits_table,
    training_reports,
)
from darkroom.errors import DataError
from darkroom.html import plural
from darkroom.metrics import METRIC_NAMES
from darkroom.splitting import checked_options, rebalance
from darkroom.storage import Storage
from darkroom.tables import Table
from training.config import TrainingConfig
from training.data import class_names
from training.experiments.fitting import fit_fold, read_fold, read_predictions
from training.kinds import Job

log = logging.getLogger(__name__)

VAL_SHARE = 0.15  # of the given train, drawn image by image, where the source gave no val


def read_given_split(lake: Storage, dataset: str, version: str, split_id: str) -> tuple[pa.Table, dict[str, Any]]:
    """The images of a split where their source put them, as a table like a split, and what leaks in it.

    Identical files count once a part, and may be in several parts: that is the leak. What the split left out because it
    leaks, or to undersample, is in; what it left out for another reason stays out. Returns the table and {"images":
    images of the given test, "identical": how many of them are byte for byte in train or val, "near": how many of the
    others have a near duplicate there, "groups": how many of the others share a group with them}.
    Raises DataError where the source gave no test split, or where that cannot be trained on.
    """
    recorded = Table(lake, splits_table(dataset)).last_commit({"split_id": split_id}) or {}
    split = Table(lake, splits_table(dataset)).read({"split_id": split_id}).to_pandas()
    columns = ["path", "content_id", "given_split"]
    files = Table(lake, images_table(dataset)).read({"version": version}, columns=columns).to_pandas()
    usable = (split["split"] != OUT) | split["reason"].isin(TAKEN_BACK)
    kept = split[usable].drop(columns=["path", "given_split", "split"])
    rows = files[files["given_split"].notna()].merge(kept, on="content_id")
    rows = rows.sort_values("path").drop_duplicates(["content_id", "given_split"]).reset_index(drop=True)
    if not (rows["given_split"] == TEST).any():
        raise DataError(f"The source of {dataset!r} gave no test split to compare with. Ask for it without leaks.")
    options = checked_options(recorded.get("options") or {})
    part = rows["given_split"].to_numpy(dtype=object, copy=True)
    if not (part == VAL).any():
        train = np.flatnonzero(part == TRAIN)
        drawn = np.random.default_rng(options.seed).permutation(train)[: max(1, round(len(train) * VAL_SHARE))]
        part[drawn] = VAL
    rows = rows.assign(split=part, reason=None, weight=1.0, copies=np.int32(1), split_id=f"{split_id}-given")
    rebalance(rows, options.rebalance, options.seed)
    rows = rows[rows["split"] != OUT]
    arrays = [pa.array(rows[field.name], type=field.type, from_pandas=True) for field in SPLITS_SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=SPLITS_SCHEMA)
    class_names(table)
    return table, _leaks(rows)


def measure_given(lake: Storage, task: Mapping[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """What a config reaches where it is trained and tested as the source gave the images; measured once.

    Returns {"metrics": those of its test, "leaks": see ``read_given_split``, "right": the share of right answers among
    the test images that "leak" and among the "others"; None where there are none}.
    """
    split, leaks = read_given_split(lake, task["dataset"], task["version"], task["split_id"])
    path = f"{training_reports(task['model'], 'given')}/{task['key']}.parquet"
    log.info("%s once more, on the split that the source gave: %s", config.name, told_leaks(leaks))
    job = Job(lake, task["dataset"], split, config.once(), task["seed"])
    result = read_fold(lake, path) or fit_fold(task, path, job)
    assert result is not None  # only a team that it does not lead would give none
    test = result["test"]
    metrics = {name: test[name] for name in METRIC_NAMES if name in test}
    return {"metrics": metrics, "leaks": leaks, "right": right_of(split, read_predictions(lake, path))}


def told_leaks(leaks: Mapping[str, int]) -> str:
    """The counts of ``read_given_split`` as words."""
    return (
        f"of {plural(leaks['images'], 'test image')} {leaks['identical']:,} are in its train or val byte for byte, "
        f"{leaks['near']:,} more have a near duplicate there, and {leaks['groups']:,} more share a group with one."
    )


def right_of(split: pa.Table, predictions: pa.Table) -> dict[str, float | None]:
    """Shares of right answers; see ``measure_given``. ``predictions``: content_id, truth and predicted of test."""
    leaking = _leaking(split.to_pandas())
    answers = predictions.select(["content_id", "truth", "predicted"]).to_pandas().set_index("content_id")
    right = answers["truth"] == answers["predicted"]
    leak = (leaking != "").reindex(right.index)
    shares = {"leak": right[leak].mean(), "others": right[~leak].mean()}
    return {name: None if np.isnan(share) else float(share) for name, share in shares.items()}


def _leaks(rows: pd.DataFrame) -> dict[str, int]:
    leaking = _leaking(rows)
    return {"images": len(leaking), **{how: int((leaking == how).sum()) for how in ("identical", "near", "groups")}}


def _leaking(rows: pd.DataFrame) -> pd.Series[str]:
    """How each test image leaks, by its content_id: identical, near, groups, or an empty text."""
    seen, test = rows[rows["split"] != TEST], rows[rows["split"] == TEST]
    how = np.full(len(test), "", dtype=object)
    for name, column in (("groups", "group"), ("near", "duplicate_cluster"), ("identical", "content_id")):
        how[test[column].isin(set(seen[column].dropna()))] = name
    return pd.Series(how, index=test["content_id"])
