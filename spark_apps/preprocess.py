"""Preprocessing: ImageTransforms over the images of a split, and over those out of it that a training may take back.

Workers write the examples' Parquet files themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from darkroom.codedigest import code_digest
from darkroom.contract import SPLITS, TAKEN_BACK, examples_table, images_table, splits_table
from darkroom.decode import one_thread
from darkroom.errors import DataError
from darkroom.reader import ImageReader
from darkroom.requests import checked_job
from darkroom.storage import Storage
from darkroom.tables import AddedFile, Table
from darkroom.transform import ImageProblem, ImageTransform
from spark_apps.features import Extraction, WantedFeatures, extract_features, plan_extraction
from spark_apps.images import partition_count
from spark_apps.rowfile import RowFile

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Pixels are not compressed: lz4 or fast zstd save 0 to 8 % of them, and zstd at its default level 5 to 20 %, for up to
# twice the time that decoding the image took (measured on X-rays and photographs at 64 and 224 pixels).

WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("transform", pa.int32(), nullable=False),  # its place in the request
        pa.field("path", pa.string()),  # of a file that was written, relative to the table
        pa.field("size", pa.int64()),  # bytes
        pa.field("rows", pa.int64()),
        pa.field("content_id", pa.string()),  # of an image that could not be decoded
        pa.field("problem", pa.string()),
    ]
)


class PreprocessRequest(BaseModel):
    """What the preprocess job is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: str
    split_id: str
    transforms: list[ImageTransform] = Field(min_length=1)
    features: list[WantedFeatures] = []


@dataclass(frozen=True)
class Preprocessing:
    """What is to be done: for each transform the content_ids that have no example yet."""

    lake: Storage
    request: PreprocessRequest
    transforms: list[ImageTransform]  # each once
    commit_numbers: list[int]  # of each transform's partition, when ``missing`` was found
    existing: list[int]  # how many of the split's images have an example already
    missing: list[set[str]]
    uris: dict[str, str]  # content_id -> address, of every image that is missing somewhere
    extraction: Extraction  # what is to be done about features, once the examples are there

    @property
    def any(self) -> bool:
        return bool(self.uris) or self.extraction.any

    @property
    def table(self) -> Table:
        return Table(self.lake, examples_table(self.request.dataset))

    def result(self) -> dict[str, Any]:
        counts = zip(self.transforms, self.missing, self.existing, strict=True)
        rows = [{"transform_hash": one.hash, "added": len(new), "existing": old} for one, new, old in counts]
        return {"transforms": rows, "feature_partitions": self.extraction.result(), "changed": self.any}


def plan_preprocessing(lake: Storage, request: dict[str, Any]) -> Preprocessing:
    """Find out what is missing; no image is opened. Raises InvalidRequest and DataError."""
    asked = checked_job(PreprocessRequest, request, "preprocess")
    images = Table(lake, images_table(asked.dataset)).read({"version": asked.version}, columns=["content_id", "uri"])
    columns = ["content_id", "split", "reason"]
    split = Table(lake, splits_table(asked.dataset)).read({"split_id": asked.split_id}, columns=columns)
    for what, name, rows in (("version", asked.version, images), ("split", asked.split_id, split)):
        if not rows.num_rows:
            raise DataError(f"The dataset {asked.dataset} has no {what} {name!r}. Run prepare_dataset for it first.")
    parts = zip(*(split[name].to_pylist() for name in columns), strict=True)
    wanted = {content_id for content_id, part, reason in parts if part in SPLITS or reason in TAKEN_BACK}
    address: dict[str, str] = {}
    for content_id, uri in zip(images["content_id"].to_pylist(), images["uri"].to_pylist(), strict=True):
        address[content_id] = min(uri, address.get(content_id, uri))
    if strangers := wanted - address.keys():
        raise DataError(
            f"{len(strangers):,} images of split {asked.split_id} are not in version {asked.version}, "
            f"the first is {min(strangers)}. Name the version that the split was made from."
        )
    table = Table(lake, examples_table(asked.dataset))
    described = [*asked.transforms, *(one.transform for one in asked.features)]
    transforms = list({one.hash: one for one in described}.values())
    numbers = [table.commit_number({"transform_hash": one.hash}) for one in transforms]
    present = [table.read({"transform_hash": one.hash}, columns=["content_id"]) for one in transforms]
    missing = [wanted - set(rows["content_id"].to_pylist()) for rows in present]
    existing = [len(wanted) - len(found) for found in missing]
    uris = {content_id: address[content_id] for content_id in set().union(*missing)}
    extraction = plan_extraction(lake, asked.dataset, asked.features, wanted)
    return Preprocessing(lake, asked, transforms, numbers, existing, missing, uris, extraction)


def preprocess(spark: SparkSession, plan: Preprocessing, partitions: int | None = None) -> dict[str, Any]:
    """Write the missing examples and then features, a transaction a partition. Returns the job's result.

    Raises DataError when an image that was fine in the manifest cannot be decoded any more; nothing is committed then.
    """
    noted = {"version": plan.request.version, "split_id": plan.request.split_id}
    if plan.uris:
        _make_examples(spark, plan, noted, partitions)
    extract_features(spark, plan.extraction, noted, partitions)
    return plan.result()


def _make_examples(spark: SparkSession, plan: Preprocessing, origin: dict[str, str], partitions: int | None) -> None:
    todo = [
        {
            "content_id": content_id,
            "uri": uri,
            "transforms": [i for i, new in enumerate(plan.missing) if content_id in new],
        }
        for content_id, uri in sorted(plan.uris.items())
    ]
    schema = pa.schema({"content_id": pa.string(), "uri": pa.string(), "transforms": pa.list_(pa.int32())})
    count = partitions or partition_count(spark.sparkContext.defaultParallelism, len(todo))
    wanted = spark.createDataFrame(pa.Table.from_pylist(todo, schema=schema))
    wanted = wanted.repartition(count).sortWithinPartitions("content_id")
    written = write_examples(wanted, plan.table, plan.transforms, ImageReader(plan.lake)).toArrow().to_pylist()
    problems = sorted((row["content_id"], row["problem"]) for row in written if row["problem"])
    if problems:
        content_id, problem = problems[0]
        raise DataError(
            f"{len(problems):,} images cannot be decoded, though the manifest found nothing wrong with them. "
            f"The first is {plan.lake.uri(plan.uris[content_id])} ({content_id}): {problem}. "
            "Its bytes or the decoder have changed: run the download again."
        )
    for number, transform in enumerate(plan.transforms):
        files = [AddedFile(row["path"], row["size"], row["rows"]) for row in written if row["transform"] == number]
        if files:
            metadata = {**origin, "transform": transform.model_dump(mode="json")}
            partition = {"transform_hash": transform.hash}
            after = plan.commit_numbers[number]
            noted = {"fingerprint": metadata, "code_digest": code_digest()}
            plan.table.commit(partition, files, noted, mode="append", after=after)


def write_examples(wanted: DataFrame, table: Table, transforms: list[ImageTransform], reader: ImageReader) -> DataFrame:
    """(content_id, uri, transforms) to WRITTEN_SCHEMA: a row a file that was written or image that was not decoded."""
    from pyspark.sql.pandas.types import from_arrow_schema

    partitions = [{"transform_hash": one.hash} for one in transforms]
    work = _writer(table, transforms, partitions, reader)
    return wanted.select("content_id", "uri", "transforms").mapInArrow(work, from_arrow_schema(WRITTEN_SCHEMA))


def _writer(
    table: Table, transforms: list[ImageTransform], partitions: list[dict[str, str]], reader: ImageReader
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one_thread()
        sizes = [dict(zip(("height", "width", "channels"), one.shape, strict=True)) for one in transforms]
        open_files: dict[int, RowFile] = {}
        for batch in batches:
            ids = batch["content_id"].to_pylist()
            data_of = reader.read_all(list(zip(batch["uri"].to_pylist(), ids, strict=True)))
            report = []
            for content_id, data, needed in zip(ids, data_of, batch["transforms"].to_pylist(), strict=True):
                for number in needed:
                    try:
                        pixels = transforms[number].apply(data)
                    except ImageProblem as problem:
                        report.append({"transform": number, "content_id": content_id, "problem": problem.message})
                        continue
                    if number not in open_files:
                        open_files[number] = RowFile(table, partitions[number], binary="pixels")
                    open_files[number].add({"content_id": content_id, "pixels": pixels.tobytes(), **sizes[number]})
                    if open_files[number].full:
                        report.append({"transform": number, **open_files.pop(number).close()})
            if report:
                yield pa.RecordBatch.from_pylist(report, schema=WRITTEN_SCHEMA)
        last = [{"transform": number, **file.close()} for number, file in sorted(open_files.items())]
        yield pa.RecordBatch.from_pylist(last, schema=WRITTEN_SCHEMA)

    return write_batches
