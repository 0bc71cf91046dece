"""Features of the images of a split, from the pixels of their examples. Workers read and write the Parquet files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from darkroom.codedigest import code_digest
from darkroom.contract import examples_table, features_table
from darkroom.decode import one_thread
from darkroom.errors import DataError
from darkroom.features import Feature, FeatureSet
from darkroom.storage import Storage
from darkroom.tables import AddedFile, Table
from darkroom.transform import ImageTransform
from spark_apps.images import partition_count
from spark_apps.rowfile import RowFile

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

# A row an image with the place of its pixels.
PLACES_SCHEMA = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),  # the task that works on it
        pa.field("path", pa.string(), nullable=False),  # of the examples' file, relative to the table
        pa.field("group", pa.int32(), nullable=False),  # row group in it
        pa.field("row", pa.int32(), nullable=False),  # in that row group
        pa.field("wanted", pa.list_(pa.int32()), nullable=False),  # which of the extraction's features
    ]
)
WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("feature", pa.int32(), nullable=False),  # its place in the extraction
        pa.field("path", pa.string(), nullable=False),  # of a file that was written, relative to the table
        pa.field("size", pa.int64(), nullable=False),  # bytes
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("reasons", pa.int64(), nullable=False),  # rows in which the feature found nothing
    ]
)


class WantedFeatures(BaseModel):
    """Features that are asked for, of the pixels that one transform makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transform: ImageTransform
    features: FeatureSet


@dataclass(frozen=True)
class Missing:
    """One feature of one transform's pixels: what of it is to be made."""

    transform: ImageTransform
    feature: Feature
    commit_number: int  # of its partition, when ``content_ids`` was found
    existing: int  # how many of the split's images have it already
    content_ids: set[str]  # of those that have not

    @property
    def partition(self) -> dict[str, str]:
        return {"transform_hash": self.transform.hash, "feature_hash": self.feature.hash}


@dataclass(frozen=True)
class Extraction:
    """What is to be done, a feature of a transform each."""

    lake: Storage
    dataset: str
    missing: list[Missing]

    @property
    def any(self) -> bool:
        return any(one.content_ids for one in self.missing)

    @property
    def table(self) -> Table:
        return Table(self.lake, features_table(self.dataset))

    def result(self) -> list[dict[str, Any]]:
        return [
            {
                **one.partition,
                "kind": one.feature.kind,
                "added": len(one.content_ids),
                "existing": one.existing,
            }
            for one in self.missing
        ]


def plan_extraction(lake: Storage, dataset: str, asked: Iterable[WantedFeatures], content_ids: set[str]) -> Extraction:
    """Find out which features the images lack. Raises InvalidRequest where one cannot be computed from such pixels."""
    table = Table(lake, features_table(dataset))
    missing: dict[tuple[str, str], Missing] = {}
    for one in asked:
        one.features.check(one.transform.shape)
        for feature in one.features.features:
            partition = {"transform_hash": one.transform.hash, "feature_hash": feature.hash}
            number = table.commit_number(partition)
            there = set(table.read(partition, columns=["content_id"])["content_id"].to_pylist())
            new = content_ids - there
            found = Missing(one.transform, feature, number, len(content_ids) - len(new), new)
            missing[one.transform.hash, feature.hash] = found
    return Extraction(lake, dataset, list(missing.values()))


def extract_features(
    spark: SparkSession, plan: Extraction, origin: dict[str, str], partitions: int | None = None
) -> None:
    """Write the missing features and commit them, a transaction a feature. The examples must be there.

    ``origin`` is kept with each commit. Raises DataError for an image without an example.
    """
    if not plan.any:
        return
    found = places(plan)
    count = partitions or partition_count(spark.sparkContext.defaultParallelism, len(found))
    for number, place in enumerate(found):
        place["part"] = number * count // len(found)
    wanted = spark.createDataFrame(pa.Table.from_pylist(found, schema=PLACES_SCHEMA))
    wanted = wanted.repartitionById(count, "part").sortWithinPartitions("path", "group", "row")
    written = write_features(wanted, plan).toArrow().to_pylist()
    for number, one in enumerate(plan.missing):
        files = [AddedFile(row["path"], row["size"], row["rows"]) for row in written if row["feature"] == number]
        if files:
            options = {
                "transform": one.transform.model_dump(mode="json"),
                "feature": one.feature.model_dump(mode="json"),
            }
            noted = {"fingerprint": {**origin, **options}, "code_digest": code_digest()}
            plan.table.commit(one.partition, files, noted, mode="append", after=one.commit_number)
            empty = sum(row["reasons"] for row in written if row["feature"] == number)
            told = f"; nothing was found in {empty:,} of them" if empty else ""
            log.info("%s of %s images%s", one.feature.kind, f"{len(one.content_ids):,}", told)


def places(plan: Extraction) -> list[dict[str, Any]]:
    """Where the pixels of the images are that lack a feature, in the order of the files; no pixels are read."""
    examples = Table(plan.lake, examples_table(plan.dataset))
    found: list[dict[str, Any]] = []
    for transform in {one.transform.hash: one.transform for one in plan.missing}.values():
        lacking: dict[str, list[int]] = {}
        for number, one in enumerate(plan.missing):
            if one.transform.hash == transform.hash:
                for content_id in one.content_ids:
                    lacking.setdefault(content_id, []).append(number)
        for named in examples.named_files({"transform_hash": transform.hash}) if lacking else []:
            for group, ids in enumerate(_row_groups(plan.lake, f"{examples.spec.path}/{named.path}")):
                found += [
                    {"path": named.path, "group": group, "row": row, "wanted": lacking.pop(content_id)}
                    for row, content_id in enumerate(ids)
                    if content_id in lacking
                ]
        if lacking:
            raise DataError(
                f"{len(lacking):,} images of {plan.dataset} have no example for the transform {transform.hash}, "
                f"{min(lacking)} among them. Expected one each: features are made from them. Run the job again."
            )
    return found


def _row_groups(lake: Storage, path: str) -> Iterator[list[str]]:
    """The content_ids of each row group of a file."""
    with lake.open(path) as stream, pq.ParquetFile(stream) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=["content_id"], use_threads=False)["content_id"].to_pylist()


def write_features(wanted: DataFrame, plan: Extraction) -> DataFrame:
    """PLACES_SCHEMA to WRITTEN_SCHEMA: a row a file that was written."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return wanted.mapInArrow(_writer(plan), from_arrow_schema(WRITTEN_SCHEMA))


def _writer(plan: Extraction) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    # What a worker needs, and none of the plan's content_ids.
    parts = [(one.feature, one.transform.shape, one.partition) for one in plan.missing]
    table, examples = plan.table, Table(plan.lake, examples_table(plan.dataset))

    def write_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one_thread()
        open_files: dict[int, FeatureFile] = {}
        held, rows = ("", -1), pa.table({})
        for batch in batches:
            report = []
            for place in batch.to_pylist():
                if held != (place["path"], place["group"]):
                    held = (place["path"], place["group"])
                    rows = _read_group(examples, *held)
                content_id = rows["content_id"][place["row"]].as_py()
                flat = np.frombuffer(rows["pixels"][place["row"]].as_buffer(), np.uint8)
                for number in place["wanted"]:
                    feature, shape, partition = parts[number]
                    if number not in open_files:
                        open_files[number] = FeatureFile(number, feature, RowFile(table, partition, binary="values"))
                    open_files[number].add(content_id, feature.extract(flat.reshape(shape)))
                    if open_files[number].file.full:
                        report.append(open_files.pop(number).close())
            if report:
                yield pa.RecordBatch.from_pylist(report, schema=WRITTEN_SCHEMA)
        last = [file.close() for _, file in sorted(open_files.items())]
        yield pa.RecordBatch.from_pylist(last, schema=WRITTEN_SCHEMA)

    return write_batches


class FeatureFile:
    """One Parquet file of one feature."""

    def __init__(self, number: int, feature: Feature, file: RowFile) -> None:
        self.file = file
        self._number, self._feature, self._reasons = number, feature, 0

    def add(self, content_id: str, raw: np.ndarray) -> None:
        reason = self._feature.reason(raw)
        self._reasons += reason is not None
        self.file.add({"content_id": content_id, "values": self._feature.to_bytes(raw), "reason": reason})

    def close(self) -> dict[str, Any]:
        """Writes the file; returns its row of WRITTEN_SCHEMA."""
        return {"feature": self._number, "reasons": self._reasons, **self.file.close()}


def _read_group(examples: Table, path: str, group: int) -> pa.Table:
    with examples.storage.open(f"{examples.spec.path}/{path}") as stream, pq.ParquetFile(stream) as file:
        return file.read_row_group(group, columns=["content_id", "pixels"], use_threads=False)
