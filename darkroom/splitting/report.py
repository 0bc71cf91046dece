"""What a split did, as plain data: counts, what was left out, leaks, contradictions."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from darkroom.contract import OUT, REASON_CONTRADICTION, REASON_LEAK, SPLITS
from darkroom.splitting.contents import MANIFEST_COLUMNS, Contents, Ints

MAX_EXAMPLES = 20
MAX_PATHS = 8


def counts_by_split(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Images by split and class, copies included; every class stands in every split."""
    used = rows[rows["split"] != OUT]
    classes = sorted(used["label"].unique())
    table = used.pivot_table(index="split", columns="label", values="copies", aggfunc="sum", fill_value=0)
    table = table.reindex(index=list(SPLITS), columns=classes, fill_value=0)
    return {split: {str(label): int(table.loc[split, label]) for label in classes} for split in SPLITS}


def left_out(rows: pd.DataFrame) -> dict[str, int]:
    """Contents in no split, by reason."""
    return {str(reason): int(count) for reason, count in sorted(rows["reason"].value_counts().items())}


def contradictions(contents: Contents) -> dict[str, Any]:
    """Contents whose files carry several labels: how many contents and files, and examples with path and label."""
    positions = np.flatnonzero(contents.rows["reason"] == REASON_CONTRADICTION)
    files = contents.files[contents.files["content"].isin(positions)]
    examples = [
        [{"path": path, "label": label} for path, label in zip(of["path"], of["label"], strict=True)][:MAX_PATHS]
        for _, of in list(files.groupby("content", sort=True))[:MAX_EXAMPLES]
    ]
    return {"contents": len(positions), "files": len(files), "examples": examples}


def mixed_clusters(rows: pd.DataFrame) -> dict[str, Any]:
    """Near duplicates with different labels. They stay in, all in one split; a person should look at them."""
    used = rows[(rows["split"] != OUT) & rows["duplicate_cluster"].notna()]
    labels = used.groupby("duplicate_cluster")["label"].nunique()
    mixed = used[used["duplicate_cluster"].isin(labels.index[labels > 1])].sort_values("path")
    examples = [
        [{"path": path, "label": label} for path, label in zip(of["path"], of["label"], strict=True)][:MAX_PATHS]
        for _, of in list(mixed.groupby("duplicate_cluster", sort=True))[:MAX_EXAMPLES]
    ]
    return {"clusters": int((labels > 1).sum()), "contents": len(mixed), "examples": examples}


def unit_sizes(rows: pd.DataFrame, units: Ints) -> dict[str, Any]:
    """How many units the used images form, and the largest: its size and some of its paths."""
    used = np.flatnonzero(rows["split"] != OUT)
    found, sizes = np.unique(units[used], return_counts=True)
    if not len(found):
        return {"units": 0, "largest": {"images": 0, "paths": []}}
    members = used[units[used] == found[int(sizes.argmax())]]
    paths = sorted(rows["path"].iloc[members])[:MAX_PATHS]
    return {"units": len(found), "largest": {"images": int(sizes.max()), "paths": paths}}


def leaks_removed(contents: Contents, rows: pd.DataFrame) -> dict[str, Any]:
    """Contents left out because they would tie two splits, by given split, and some of their paths.

    ``identical``: contents whose files lay in several given splits and that are in one split now.
    """
    splits = contents.files.groupby("content", sort=True)["given_split"].nunique().to_numpy()
    leaks = rows[rows["reason"] == REASON_LEAK]
    given = leaks["given_split"].fillna("none").value_counts()
    return {
        "contents": len(leaks),
        "identical": int(((splits > 1) & (rows["split"] != OUT).to_numpy()).sum()),
        "by_given_split": {str(name): int(count) for name, count in sorted(given.items())},
        "paths": sorted(leaks["path"])[:MAX_EXAMPLES],
    }


def leaks_between_given_splits(images: pa.Table) -> dict[str, Any]:
    """What the source's own splits share: identical files, near duplicates, groups.

    ``images``: IMAGES_SCHEMA. Returns, for each of "identical", "near_duplicates" and "groups": ``sets`` (contents,
    clusters or groups that lie in two or more given splits), ``files`` (in those sets), ``between`` (sets by pair of
    splits, such as "train/test") and ``examples`` (key and up to eight paths each). A near-duplicate set has at least
    two different contents. ``given_splits`` counts the files of each given split; without any, all counts are zero.
    """
    frame = images.select(MANIFEST_COLUMNS).to_pandas().astype(object)
    files = frame[frame["given_split"].notna()].sort_values(["path", "content_id"])
    clustered = files[files["duplicate_cluster"].notna()]
    contents = clustered.groupby("duplicate_cluster")["content_id"].transform("nunique")
    counts = files["given_split"].value_counts()
    return {
        "given_splits": {split: int(counts.get(split, 0)) for split in SPLITS},
        "identical": _shared_sets(files, "content_id"),
        "near_duplicates": _shared_sets(clustered[contents > 1] if len(clustered) else clustered, "duplicate_cluster"),
        "groups": _shared_sets(files[files["group"].notna()], "group"),
    }


def _shared_sets(files: pd.DataFrame, key: str) -> dict[str, Any]:
    splits = files.groupby(key)["given_split"].nunique()
    shared = files[files[key].isin(splits.index[splits > 1])]
    between = {f"{one}/{other}": 0 for one, other in combinations(SPLITS, 2)}
    for present in shared.groupby(key)["given_split"].unique():
        for one, other in combinations([split for split in SPLITS if split in set(present)], 2):
            between[f"{one}/{other}"] += 1
    examples = [{"key": name, "paths": _across(of)} for name, of in list(shared.groupby(key, sort=True))[:MAX_EXAMPLES]]
    return {"sets": int((splits > 1).sum()), "files": len(shared), "between": between, "examples": examples}


def _across(files: pd.DataFrame) -> list[str]:
    """Some paths of a set: the first of each given split, then the others."""
    first = files.drop_duplicates("given_split")["path"]
    return [*first, *files.loc[~files["path"].isin(first), "path"]][:MAX_PATHS]
