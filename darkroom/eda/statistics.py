"""The numbers behind the EDA: pure functions from the manifest (and a split) to plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from darkroom.contract import IMAGES_SCHEMA, OUT, REASON_UNDERSAMPLED, SPLITS, TEST, TRAIN
from darkroom.palette import class_colors
from darkroom.splitting import leaks_between_given_splits
from darkroom.splitting.contents import read_contents
from darkroom.splitting.report import contradictions

STATISTICS = ("mean", "std", "min", "max")
_UNUSED = ("phash", "version")
MAX_EXAMPLES = 12
MAX_CLASSES_IN_SUMMARY = 50


@dataclass(frozen=True)
class Facts:
    """Everything that the pages and plots show.

    ``files``: a row a file. ``rows``: what the plots count: files, or distinct contents once there is a split; with
    ``split`` (train, val, test, out or None). ``usable``: those of ``rows`` without a problem. ``splits``: the new
    split's rows, or None. ``classes``: all class names, most images first; ``colors``: one for each, gray for None.
    """

    files: pd.DataFrame
    rows: pd.DataFrame
    splits: pd.DataFrame | None
    classes: list[str]
    colors: dict[str | None, str]
    problems: dict[str, int]
    duplicates: dict[str, Any]
    contradictions: dict[str, Any]
    leaks: dict[str, Any]
    leaks_after: dict[str, Any] | None

    @property
    def usable(self) -> pd.DataFrame:
        return self.rows[self.rows["problem"].isna()]

    @property
    def compared(self) -> list[str | None]:
        """The splits that are compared with each other: those of ``split_names`` that are not left out."""
        return [name for name in self.split_names if name != OUT]

    @property
    def noun(self) -> str:
        """What one row of ``rows`` is."""
        return "file" if self.splits is None else "distinct image"

    @property
    def split_names(self) -> list[str | None]:
        """The splits that hold rows, in their order; None, where nothing was given, stands last."""
        present = set(self.rows["split"].dropna())
        named: list[str | None] = [name for name in (*SPLITS, OUT) if name in present]
        return [*named, None] if self.rows["split"].isna().any() else named


def gather(images: pa.Table, splits: pa.Table | None) -> Facts:
    """Facts of IMAGES_SCHEMA rows of one version and, if there are any, SPLITS_SCHEMA rows of one split of it."""
    used = [name for name in IMAGES_SCHEMA.names if name not in _UNUSED]
    files = _frame(images.select(used)).sort_values("path", ignore_index=True)
    files.loc[files["label"] == "", "label"] = None
    new = None if splits is None else _frame(splits)
    rows = files.assign(split=files["given_split"])
    leaks_after = None
    if new is not None:
        assigned = new.set_index("content_id")["split"]
        rows = files.drop_duplicates("content_id").copy()
        rows["split"] = _none_for_nan(rows["content_id"].map(assigned))
        leaks_after = _leaks_of(files, assigned)
    counted = files["label"].value_counts()
    classes = sorted(counted.index, key=lambda name: (-counted[name], name))
    return Facts(
        files=files,
        rows=rows.reset_index(drop=True),
        splits=new,
        classes=classes,
        colors=class_colors(classes),
        problems=count_by(files["problem"].dropna().map(lambda text: text.partition(":")[0])),
        duplicates=duplicates(files),
        contradictions=contradictions(read_contents(images))
        if len(files)
        else {"contents": 0, "files": 0, "examples": []},
        leaks=leaks_between_given_splits(images),
        leaks_after=leaks_after,
    )


def count_by(values: pd.Series) -> dict[str, int]:
    """How often each value occurs, the most frequent first, equal ones by name."""
    counted = values.value_counts()
    return {str(name): int(counted[name]) for name in sorted(counted.index, key=lambda one: (-counted[one], str(one)))}


def cross(rows: pd.DataFrame, classes: list[str | None], splits: list[str | None], column: str = "split") -> np.ndarray:
    """int64[splits, classes]: how many rows each split holds of each class."""
    at_split = rows[column].map({name: i for i, name in enumerate(splits) if name is not None})
    at_class = rows["label"].map({name: i for i, name in enumerate(classes) if name is not None})
    if None in splits:
        at_split = at_split.where(rows[column].notna(), splits.index(None))
    if None in classes:
        at_class = at_class.where(rows["label"].notna(), classes.index(None))
    known = at_split.notna() & at_class.notna()
    flat = (at_split[known] * len(classes) + at_class[known]).astype(np.int64)
    return np.bincount(flat, minlength=len(splits) * len(classes)).reshape(len(splits), len(classes))


def duplicates(files: pd.DataFrame) -> dict[str, Any]:
    """Files that repeat another one: byte for byte ("exact"), or nearly (clusters of at least two contents)."""
    copies = files.groupby("content_id")["path"].transform("size")
    exact = files[copies > 1]
    clustered = files[files["duplicate_cluster"].notna()]
    contents = clustered.groupby("duplicate_cluster")["content_id"].transform("nunique")
    near = clustered[contents > 1] if len(clustered) else clustered
    return {
        "exact": {
            "sets": int(exact["content_id"].nunique()),
            "files": len(exact),
            "largest": _largest(exact, "content_id"),
        },
        "near": {
            "sets": int(near["duplicate_cluster"].nunique()),
            "files": len(near),
            "contents": int(near["content_id"].nunique()),
            "largest": _largest(near, "duplicate_cluster"),
        },
    }


def per_split(facts: Facts) -> list[tuple[str | None, dict[str, dict[str, float]]]]:
    """Of each split: for mean, std, min and max intensity (0..255), their mean and 5th, 50th and 95th percentile."""
    found = []
    for split in facts.compared:
        rows = of_split(facts.usable, split)
        told = {}
        for name in STATISTICS:
            values = rows[name].dropna().to_numpy(float)
            if len(values):
                low, middle, high = np.percentile(values, [5, 50, 95])
                told[name] = {"mean": float(values.mean()), "p5": float(low), "p50": float(middle), "p95": float(high)}
        if told:
            found.append((split, told))
    return found


def of_split(rows: pd.DataFrame, split: str | None) -> pd.DataFrame:
    return rows[rows["split"].isna()] if split is None else rows[rows["split"] == split]


def of_class(rows: pd.DataFrame, label: str | None) -> pd.DataFrame:
    return rows[rows["label"].isna()] if label is None else rows[rows["label"] == label]


def train_balance(splits: pd.DataFrame) -> pd.DataFrame:
    """A row a class: images of train before rebalancing, after it, seen per epoch, and their share of the loss."""
    drawn = splits[(splits["split"] == TRAIN) | (splits["reason"] == REASON_UNDERSAMPLED)]
    kept = splits[splits["split"] == TRAIN]
    seen = kept["copies"].astype(float)
    table = pd.DataFrame(
        {
            "before": drawn["label"].value_counts(),
            "after": kept["label"].value_counts(),
            "seen": seen.groupby(kept["label"]).sum(),
            "loss": (seen * kept["weight"].astype(float)).groupby(kept["label"]).sum(),
            "weight": kept["weight"].astype(float).groupby(kept["label"]).mean(),
        }
    ).fillna(0.0)
    return table.sort_values("before", ascending=False, kind="stable")


def summarize(facts: Facts) -> dict[str, Any]:
    """The small summary for XCom, summary.json and tables of results. JSON data."""
    files, usable = facts.files, facts.files[facts.files["problem"].isna()]
    labels = count_by(files["label"].dropna())
    told: dict[str, Any] = {
        "images": len(files),
        "distinct_images": int(files["content_id"].nunique()),
        "usable_images": len(usable),
        "bytes": int(files["size_bytes"].sum()),
        "class_count": len(labels),
        "classes": dict(list(labels.items())[:MAX_CLASSES_IN_SUMMARY]),
        "without_label": int(files["label"].isna().sum()),
        "given_splits": count_by(files["given_split"].dropna()),
        "groups": int(files["group"].nunique()),
        "problems": facts.problems,
        "exact_duplicates": {key: facts.duplicates["exact"][key] for key in ("sets", "files")},
        "near_duplicates": {key: facts.duplicates["near"][key] for key in ("sets", "files")},
        "contradictions": {key: facts.contradictions[key] for key in ("contents", "files")},
        "leaks": _short(facts.leaks),
        "width": _range(usable["width"]),
        "height": _range(usable["height"]),
        "intensity": {name: _rounded(usable[name].astype(float).mean()) for name in STATISTICS},
    }
    if facts.splits is not None and facts.leaks_after is not None:
        told["splits"] = count_by(facts.splits["split"])
        told["left_out"] = count_by(facts.splits["reason"].dropna())
        told["leaks_after"] = _short(facts.leaks_after)
    return told


def brightness_shift(facts: Facts) -> float | None:
    """How far the mean intensity of test lies from that of train, in standard deviations over train's images."""
    train, test = (of_split(facts.usable, name)["mean"].dropna().to_numpy(float) for name in (TRAIN, TEST))
    if len(train) < 20 or len(test) < 20 or train.std() == 0:
        return None
    return float((test.mean() - train.mean()) / train.std())


def _leaks_of(files: pd.DataFrame, assigned: pd.Series) -> dict[str, Any]:
    """What the new split's parts share, in the form of ``leaks_between_given_splits``."""
    split = files["content_id"].map(assigned)
    columns = {field.name: files[field.name] for field in IMAGES_SCHEMA if field.name in files.columns}
    columns["given_split"] = _none_for_nan(split.where(split != OUT))
    kept = ("path", "content_id", "label", "given_split", "group", "duplicate_cluster", "problem")
    table = pa.table({name: pa.array(columns[name], type=pa.string(), from_pandas=True) for name in kept})
    return leaks_between_given_splits(table)


def _short(leaks: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {
        kind: {"sets": int(leaks[kind]["sets"]), "files": int(leaks[kind]["files"])}
        for kind in ("identical", "near_duplicates", "groups")
    }


def _largest(rows: pd.DataFrame, key: str) -> list[dict[str, Any]]:
    """The largest sets: how many files and distinct images, their labels and splits, and their first paths."""
    counted = rows[key].value_counts()
    order = sorted(counted.index, key=lambda name: (-counted[name], name))[:MAX_EXAMPLES]
    groups = rows[rows[key].isin(order)].groupby(key)
    return [
        {
            "files": int(counted[name]),
            "contents": int(members["content_id"].nunique()),
            "labels": sorted(members["label"].dropna().unique()),
            "splits": [split for split in SPLITS if split in set(members["given_split"].dropna())],
            "paths": list(members["path"].head(6)),
            "distinct": list(members.drop_duplicates("content_id")["path"].head(6)),
        }
        for name, members in ((name, groups.get_group(name)) for name in order)
    ]


def _range(values: pd.Series) -> dict[str, int | None]:
    known = values.dropna().to_numpy(float)
    if not len(known):
        return {"min": None, "median": None, "max": None}
    return {"min": int(known.min()), "median": int(np.median(known)), "max": int(known.max())}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Text columns as objects with None for null; numbers as they are, NaN for null."""
    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_string(field.type):
            frame[field.name] = _none_for_nan(frame[field.name])
    return frame


def _none_for_nan(values: pd.Series) -> pd.Series:
    plain = values.astype(object)
    return plain.where(plain.notna(), None)
