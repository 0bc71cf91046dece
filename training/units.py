"""Units: images that say the same about a model, since they share a group or are near duplicates.

Where images are drawn, counted as independent or held out, it is units that are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

TIES = ("group", "duplicate_cluster")


def units_of(content_ids: list[str], *tables: pd.DataFrame) -> np.ndarray:
    """int64[N]: images of one unit share a group or a duplicate cluster, directly or through others.

    ``tables`` have content_id, group and duplicate_cluster, of these images and maybe of others, and say what ties.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    position = pd.Series(np.arange(len(content_ids)), index=pd.Index(content_ids, dtype=object))
    found = [
        pd.DataFrame({"content_id": table["content_id"], "node": tie + table[tie].astype(str)})[table[tie].notna()]
        for table in tables
        for tie in TIES
    ]
    ties = pd.concat(found)
    ties = ties[ties["content_id"].isin(position.index)]
    nodes, names = pd.factorize(ties["node"])
    contents = position[ties["content_id"].to_numpy()].to_numpy()
    total = len(content_ids) + len(names)
    links = coo_matrix((np.ones(len(ties), np.int8), (contents, nodes + len(content_ids))), shape=(total, total))
    component = connected_components(links, directed=False)[1][: len(content_ids)]
    return np.asarray(pd.factorize(component)[0], dtype=np.int64)


def named_units(content_ids: list[str], table: pd.DataFrame) -> list[str]:
    """The unit of each image under a name: the first by name of its images' groups, and of ids of those without one."""
    groups = pd.Series(table["group"].to_numpy(dtype=object), index=table["content_id"].to_numpy())
    names = groups.reindex(content_ids)
    names = names.where(names.notna(), names.index.to_series())
    first = names.groupby(units_of(content_ids, table)).transform("min")
    return [str(name) for name in first.tolist()]
