"""What must stay together, and what would tie two splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from darkroom.contract import OUT, REASON_LEAK, REASON_UNDERSAMPLED, TEST, TRAIN, VAL
from darkroom.splitting.contents import Contents, Flags, Ints

# Splits as numbers; where a tie must be cut, the higher one keeps its images.
NUMBER = {TRAIN: 0, VAL: 1, TEST: 2}
NAME = (TRAIN, VAL, TEST)
FREE = -1


@dataclass
class Ties:
    """The ties of contents to nodes; a node is a group or a duplicate cluster.

    ``content`` and ``node`` are int64[ties]; ``is_cluster`` is bool[nodes].
    """

    content: Ints
    node: Ints
    is_cluster: Flags
    contents: int

    @classmethod
    def of(cls, contents: Contents) -> Ties:
        """All the ties of the usable contents. A content that lies in two groups ties them."""
        files, rows = contents.files, contents.rows
        groups = files.loc[files["group"].notna(), ["content", "group"]].drop_duplicates()
        clusters = rows.loc[rows["duplicate_cluster"].notna(), "duplicate_cluster"]
        group_codes, group_names = pd.factorize(groups["group"])
        cluster_codes, cluster_names = pd.factorize(clusters)
        content = np.concatenate([groups["content"].to_numpy(np.int64), clusters.index.to_numpy(np.int64)])
        node = np.concatenate([group_codes, cluster_codes + len(group_names)]).astype(np.int64)
        is_cluster = np.arange(len(group_names) + len(cluster_names)) >= len(group_names)
        return cls(content, node, is_cluster, len(rows)).only(contents.usable)

    def only(self, which: Flags) -> Ties:
        """The ties of some of the contents."""
        kept = which[self.content]
        return Ties(self.content[kept], self.node[kept], self.is_cluster, self.contents)

    def without(self, content: Ints, node: Ints) -> Ties:
        """These ties less some (content, node) pairs."""
        size = max(len(self.is_cluster), 1)
        kept = ~np.isin(self.content * size + self.node, content * size + node)
        return Ties(self.content[kept], self.node[kept], self.is_cluster, self.contents)

    def splits_at(self, split: Ints) -> NDArray[np.int64]:
        """A bit set of splits for each node, from its members' splits (int64[contents], FREE: none)."""
        found = np.zeros(len(self.is_cluster), dtype=np.int64)
        placed = split[self.content] != FREE
        np.bitwise_or.at(found, self.node[placed], 1 << split[self.content[placed]])
        return found

    def units(self) -> Ints:
        """The unit (connected component) of each content, int64[contents]."""
        total = self.contents + len(self.is_cluster)
        links = coo_matrix(
            (np.ones(len(self.content), dtype=np.int8), (self.content, self.node + self.contents)), shape=(total, total)
        )
        labels = connected_components(links, directed=False)[1]
        return labels[: self.contents].astype(np.int64)


def inherited(contents: Contents, parent: pd.DataFrame) -> Ints:
    """Each content's split in the parent split, int64[contents]; FREE for new ones and those that were in none.

    An undersampled content counts as train: that is where it belongs.
    """
    split = parent["split"].where(parent["reason"] != REASON_UNDERSAMPLED, TRAIN)
    known = pd.Series(split.to_numpy(), index=parent["content_id"])
    known = known[known != OUT].map(NUMBER)
    found = contents.rows["content_id"].map(known).fillna(FREE).to_numpy(np.int64)
    found[~contents.usable] = FREE
    return found


def keep_given_test(contents: Contents, ties: Ties) -> Flags:
    """Which contents are the given test split. What shares a unit with one of them and is not given test leaves."""
    given = contents.usable & (contents.rows["given_split"] == TEST).to_numpy()
    units = ties.units()
    contents.leave_out(contents.usable & ~given & np.isin(units, units[given]), REASON_LEAK)
    return given


def inherit(contents: Contents, ties: Ties, split: Ints, parent: pd.DataFrame) -> tuple[Ints, Ties]:
    """The parent's assignments, carried to what is tied to them; what would tie two splits is left out.

    Old assignments win: a new image that touches two splits leaves. Where a duplicate cluster of now holds old
    images of two splits because new ones joined them, the old ones keep the cluster that the parent recorded. Where
    old images of two splits turn out to belong together in another way (the groups were named anew), the lower one
    of train, val, test gives way. Returns the new assignments and the ties that remain.
    """
    split = split.copy()
    _leave_bridging_groups(contents, ties, split)
    ties = _keep_parents_clusters(contents, ties.only(contents.usable), split, parent)
    _cut_ties_between_old(contents, ties, split)
    ties = ties.only(contents.usable)
    while True:
        reached = ties.splits_at(split)
        touched = np.zeros(len(split), dtype=np.int64)
        np.bitwise_or.at(touched, ties.content, reached[ties.node])
        waiting = (split == FREE) & contents.usable & (touched > 0)
        several = waiting & (touched & (touched - 1) > 0)
        joining = waiting & ~several
        if not waiting.any():
            return split, ties
        attempt = np.where(joining, np.log2(np.maximum(touched, 1)).astype(np.int64), split)
        torn = _several(ties.splits_at(attempt))[ties.node] & joining[ties.content]
        several[ties.content[torn]] = True
        contents.leave_out(several, REASON_LEAK)
        split = np.where(several, FREE, attempt)
        ties = ties.only(contents.usable)


def _leave_bridging_groups(contents: Contents, ties: Ties, split: Ints) -> None:
    """Old contents whose files now lie in groups of two splits leave: each group keeps its other images."""
    of_group = ~ties.is_cluster[ties.node]
    groups = np.bincount(ties.content[of_group], minlength=ties.contents)
    torn = (
        _several(ties.splits_at(split))[ties.node]
        & of_group
        & (groups[ties.content] > 1)
        & (split[ties.content] != FREE)
    )
    _leave(contents, split, ties.content[torn])


def _keep_parents_clusters(contents: Contents, ties: Ties, split: Ints, parent: pd.DataFrame) -> Ties:
    loose = split[ties.content] == FREE
    has_loose = np.zeros(len(ties.is_cluster), dtype=bool)
    has_loose[ties.node[loose]] = True
    torn = _several(ties.splits_at(split)) & ties.is_cluster & has_loose
    contents.leave_out(_flags(ties.content[loose & torn[ties.node]], len(split)), REASON_LEAK)
    moved = torn[ties.node] & ~loose
    positions = ties.content[moved]
    recorded = pd.Series(parent["duplicate_cluster"].to_numpy(), index=parent["content_id"])
    values = recorded.reindex(contents.rows["content_id"].to_numpy()[positions]).astype(object)
    contents.rows.loc[positions, "duplicate_cluster"] = values.where(values.notna(), None).to_numpy()
    return ties.without(positions, ties.node[moved])


def _cut_ties_between_old(contents: Contents, ties: Ties, split: Ints) -> None:
    reached = ties.splits_at(split)
    highest = np.log2(np.maximum(reached, 1)).astype(np.int64)
    lower = (split[ties.content] != FREE) & (split[ties.content] < highest[ties.node])
    _leave(contents, split, ties.content[lower & _several(reached)[ties.node]])


def _leave(contents: Contents, split: Ints, positions: Ints) -> None:
    contents.leave_out(_flags(positions, len(split)), REASON_LEAK)
    split[positions] = FREE


def _several(bits: NDArray[np.int64]) -> Flags:
    return (bits & (bits - 1)) > 0


def _flags(positions: Ints, size: int) -> Flags:
    flags = np.zeros(size, dtype=bool)
    flags[positions] = True
    return flags
