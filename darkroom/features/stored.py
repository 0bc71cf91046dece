"""Raw features as the features table keeps them, for training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from darkroom.contract import features_table
from darkroom.errors import DataError
from darkroom.features.feature import Feature, Raws
from darkroom.features.sets import FeatureSet
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.transform import ImageTransform

ROWS_PER_READ = 256


def read_features(
    lake: Storage, dataset: str, transform: ImageTransform, features: FeatureSet, content_ids: Sequence[str]
) -> list[Raws]:
    """The raw features of these images in this order, a column a feature, as ``FeatureSet.extract`` gives them.

    Parquet is read in small batches. Raises DataError where an image lacks a feature.
    """
    place = {content_id: row for row, content_id in enumerate(content_ids)}
    return [_column(lake, dataset, transform, feature, place) for feature in features.features]


def _column(lake: Storage, dataset: str, transform: ImageTransform, feature: Feature, place: dict[str, int]) -> Raws:
    table = Table(lake, features_table(dataset))
    partition = {"transform_hash": transform.hash, "feature_hash": feature.hash}
    lists: list[np.ndarray | None] = [None] * len(place)
    whole: np.ndarray | None = None  # where all have one length: one array, filled row by row
    found = np.zeros(len(place), dtype=bool)
    for named in table.named_files(partition):
        with lake.open(f"{table.spec.path}/{named.path}") as stream, pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(ROWS_PER_READ, columns=["content_id", "values"], use_threads=False):
                for content_id, value in zip(batch["content_id"].to_pylist(), batch["values"], strict=True):
                    row = place.get(content_id)
                    if row is None:
                        continue
                    raw = feature.from_bytes(memoryview(value.as_buffer()))
                    if feature.fitted:
                        lists[row] = raw.copy()
                    else:
                        whole = np.empty((len(place), raw.size), raw.dtype) if whole is None else whole
                        whole[row] = raw
                    found[row] = True
    if not found.all():
        lacking = [content_id for content_id, row in place.items() if not found[row]]
        raise DataError(
            f"{len(lacking):,} of {len(place):,} images of {dataset} lack the feature {feature.kind} ({feature.hash}) "
            f"of the transform {transform.hash}, {lacking[0][:12]} among them. Expected one each. Run the "
            "preprocessing step for this config."
        )
    return [one for one in lists if one is not None] if whole is None else whole
