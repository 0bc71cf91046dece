"""The manifest: what every file of a dataset is. Workers measure each content once; the driver finds duplicates."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from darkroom.codedigest import code_digest, other_code
from darkroom.contract import CONTRACT_VERSION, IMAGES_SCHEMA, checked_name, images_table, stable_hash
from darkroom.decode import one_thread
from darkroom.duplicates import Clusters, find_clusters
from darkroom.errors import DataError
from darkroom.feedback import accepted_feedback, apply
from darkroom.imagestats import THUMBNAIL_SIDE, Measurement, measure
from darkroom.reader import ImageReader, in_place
from darkroom.requests import checked_job
from darkroom.sources.layout import LayoutOptions, describe_all
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.images import partition_count

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

_TYPES = {"width": pa.int32(), "height": pa.int32(), "thumbnail": pa.binary()} | dict.fromkeys(
    ("mean", "std", "min", "max"), pa.float64()
)
MEASURED_SCHEMA = pa.schema(
    [pa.field("content_id", pa.string(), nullable=False)]
    + [pa.field(field.name, _TYPES.get(field.name, pa.string())) for field in fields(Measurement)]
)


class ManifestRequest(BaseModel):
    """What the manifest job is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    raw_index: str = Field(description="Lake path of the index that the download left.")
    layout: LayoutOptions = Field(default_factory=lambda: LayoutOptions.model_validate({}))


@dataclass(frozen=True)
class Manifest:
    """A manifest that is to be made: the files, what their paths say, and the version that follows from both."""

    lake: Storage
    dataset: str
    layout: LayoutOptions
    raw_index: str
    index: pa.Table  # RAW_INDEX_SCHEMA, sorted by path
    described: list[tuple[str | None, str | None, str | None]]  # label, given split, group, in the index's order
    version: str
    feedback: dict[str, Any]  # corrected, added: images; table_version: of the feedback table that was read

    @property
    def table(self) -> Table:
        return Table(self.lake, images_table(self.dataset))

    @property
    def partition(self) -> dict[str, str]:
        return {"version": self.version}


def plan_manifest(lake: Storage, request: dict[str, Any]) -> Manifest:
    """Read the index and accepted feedback, derive labels and version; no image is opened.

    Raises InvalidRequest and DataError.
    """
    asked = checked_job(ManifestRequest, request, "manifest")
    checked_name(asked.dataset)
    try:
        with lake.open(asked.raw_index) as stream:
            index = pq.read_table(stream)
    except FileNotFoundError:
        raise DataError(f"There is no index at {lake.uri(asked.raw_index)}. Run the download again.") from None
    if not index.num_rows:
        raise DataError(f"The dataset {asked.dataset} has no files. Check its source, then run the download again.")
    index = index.sort_by("path")
    described = describe_all(index["path"].to_pylist(), asked.layout)
    accepted = accepted_feedback(lake, asked.dataset)
    applied = apply(index, described, accepted, asked.dataset, asked.layout)
    index, described = applied.index, applied.described
    feedback = {"corrected": applied.corrected, "added": applied.added, "table_version": accepted.table_version}
    outside = [uri for uri in index["uri"].to_pylist() if in_place(uri)]
    version = stable_hash(
        {
            **({"in_place": stable_hash(outside, 64)} if outside else {}),  # copies of the same files are another one
            "files": stable_hash([index["path"].to_pylist(), index["content_id"].to_pylist()], 64),
            "labels": stable_hash([list(entry) for entry in described], 64),
            "layout": asked.layout.model_dump(mode="json"),
            "contract": CONTRACT_VERSION,
        }
    )
    return Manifest(lake, asked.dataset, asked.layout, asked.raw_index, index, described, version, feedback)


def existing_result(plan: Manifest) -> dict[str, Any] | None:
    """The result of the run that made this version, or None where there was none."""
    commit = plan.table.last_commit(plan.partition)
    if commit is None:
        return None
    if sentence := other_code(commit):
        log.warning("Version %s of %s: %s", plan.version, plan.dataset, sentence)
    return {**commit["summary"], "changed": False}


def make_manifest(spark: SparkSession, plan: Manifest, partitions: int | None = None) -> dict[str, Any]:
    """Measure every content once, find near duplicates, commit the version's rows. Returns the job's result."""
    after = plan.table.commit_number(plan.partition)
    contents = plan.index.group_by("content_id", use_threads=False).aggregate([("uri", "min")])
    contents = contents.rename_columns({"uri_min": "uri"}).sort_by("content_id")
    count = partitions or partition_count(spark.sparkContext.defaultParallelism, contents.num_rows)
    unmeasured = spark.createDataFrame(contents).repartition(count)
    measured = measure_images(unmeasured, ImageReader(plan.lake)).toArrow().sort_by("content_id")
    clusters = cluster(measured)
    rows = image_rows(plan, measured, clusters)
    summary = summarize(rows, clusters.report)
    fingerprint = {"index": plan.index.num_rows, "layout": plan.layout.model_dump(mode="json")}
    metadata = {
        "fingerprint": {"version": plan.version, "raw_index": plan.raw_index, **fingerprint},
        "code_digest": code_digest(),
        "summary": summary,
        "feedback": plan.feedback,
    }
    plan.table.commit(plan.partition, rows, metadata, after=after)
    return {**summary, "changed": True}


def measure_images(unmeasured: DataFrame, reader: ImageReader) -> DataFrame:
    """(content_id, uri) to MEASURED_SCHEMA. Pixels stay in the workers; a row out is about a kilobyte."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return unmeasured.select("content_id", "uri").mapInArrow(_measurer(reader), from_arrow_schema(MEASURED_SCHEMA))


def _measurer(reader: ImageReader) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def measure_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        one_thread()
        for batch in batches:
            ids = batch["content_id"].to_pylist()
            wanted = list(zip(batch["uri"].to_pylist(), ids, strict=True))
            rows = []
            for content_id, data in zip(ids, reader.read_all(wanted), strict=True):
                found = vars(measure(data)).copy()
                if found["thumbnail"] is not None:
                    found["thumbnail"] = found["thumbnail"].tobytes()
                rows.append({"content_id": content_id, **found})
            yield pa.RecordBatch.from_pylist(rows, schema=MEASURED_SCHEMA)

    return measure_batches


def cluster(measured: pa.Table) -> Clusters:
    """Near duplicates among the measured contents; those with a problem take no part."""
    usable = measured.filter(pc.is_valid(measured["thumbnail"]))
    side = THUMBNAIL_SIDE
    thumbnails = np.empty((usable.num_rows, side, side), np.uint8)
    for row, value in enumerate(usable["thumbnail"]):
        thumbnails[row] = np.frombuffer(value.as_buffer(), np.uint8).reshape(side, side)
    return find_clusters(usable["content_id"].to_pylist(), usable["phash"].to_pylist(), thumbnails)


def image_rows(plan: Manifest, measured: pa.Table, clusters: Clusters) -> pa.Table:
    """The rows of IMAGES_SCHEMA, one a file, in the index's order."""
    by_content = {row.pop("content_id"): row for row in measured.drop(["thumbnail"]).to_pylist()}
    copies = Counter(plan.index["content_id"].to_pylist())
    rows = []
    for file, (label, given_split, group) in zip(plan.index.to_pylist(), plan.described, strict=True):
        content_id = file["content_id"]
        own = content_id if copies[content_id] > 1 else None
        told = {"label": label, "given_split": given_split, "group": group, "version": plan.version}
        told["duplicate_cluster"] = clusters.cluster_of.get(content_id, own)
        rows.append({**file, **by_content[content_id], **told})
    return pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA)


def summarize(rows: pa.Table, near: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a manifest, from its rows and the report on near duplicates."""
    columns = ("content_id", "label", "given_split", "duplicate_cluster", "problem")
    contents = Counter(rows["content_id"].to_pylist())
    splits_of: dict[str, set[str]] = defaultdict(set)
    cluster_splits: dict[str, set[str]] = defaultdict(set)
    labels_of: dict[str, set[str]] = defaultdict(set)
    cluster_of: dict[str, str] = {}
    problems: Counter[str] = Counter()
    for row in rows.select(columns).to_pylist():
        if row["problem"]:
            problems[row["problem"].partition(":")[0]] += 1
        if row["given_split"] and row["duplicate_cluster"]:
            splits_of[row["content_id"]].add(row["given_split"])
            cluster_splits[row["duplicate_cluster"]].add(row["given_split"])
            cluster_of[row["content_id"]] = row["duplicate_cluster"]
        if row["label"] is not None:
            labels_of[row["content_id"]].add(row["label"])
    leaking = {content_id for content_id, found in splits_of.items() if len(found) > 1}
    nearly = {name for name, found in cluster_splits.items() if len(found) > 1} - {cluster_of[one] for one in leaking}
    return {
        "version": rows["version"][0].as_py(),
        "images": rows.num_rows,
        "contents": len(contents),
        "classes": dict(sorted(Counter(label for label in rows["label"].to_pylist() if label is not None).items())),
        "unlabelled": rows["label"].null_count,
        "problems": dict(sorted(problems.items())),
        "duplicates": {
            "exact": rows.num_rows - len(contents),  # files beyond the first of each content
            "exact_groups": sum(number > 1 for number in contents.values()),
            "near": near["images"],
            **{name: near[name] for name in ("clusters", "largest", "large", "chained", "broken_up")},
        },
        "leaks_between_given_splits": len(leaking),  # contents whose files are in more than one given split
        "near_leaks_between_given_splits": len(nearly),  # clusters that cross, none of whose contents does
        "contradictions": sum(len(found) > 1 for found in labels_of.values()),
    }
