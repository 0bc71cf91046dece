"""The data contract: columns, Arrow schemas, keys and lake paths of every table.

Everything that two packages share about data stands here and nowhere else. All paths are relative to the lake's
root, so that a lake can be copied and moved.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from darkroom.errors import InvalidRequest

CONTRACT_VERSION = 1

TRAIN, VAL, TEST, OUT = "train", "val", "test", "out"
SPLITS = (TRAIN, VAL, TEST)

BATCH = "batch"  # the origin of predictions that were made a date at a time

IMAGES_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # key: path inside the dataset, "/" separated
        pa.field("content_id", pa.string(), nullable=False),  # sha256 of the file's bytes, 64 hex digits
        pa.field("uri", pa.string(), nullable=False),  # where the bytes are, relative to the lake (or absolute)
        pa.field("label", pa.string()),  # class name; null: the file has none
        pa.field("given_split", pa.string()),  # train | val | test as the source gave it; null: none given
        pa.field("group", pa.string()),  # images that belong together (a patient); null: a group of its own
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("format", pa.string()),  # JPEG, PNG, ...; null: not recognised
        pa.field("width", pa.int32()),  # pixels, after EXIF orientation
        pa.field("height", pa.int32()),
        pa.field("mode", pa.string()),  # Pillow's mode of the stored image: L, RGB, I;16, CMYK, ...
        pa.field("mean", pa.float64()),  # intensity statistics of the luma, 0..255
        pa.field("std", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("phash", pa.string()),  # 64-bit perceptual hash, 16 hex digits
        pa.field("duplicate_cluster", pa.string()),  # smallest content_id of the cluster; null: no (near) duplicate
        pa.field("problem", pa.string()),  # null: usable; otherwise one of PROBLEMS, then ": " and details
        pa.field("version", pa.string(), nullable=False),  # partition: the dataset version
    ]
)

SPLITS_SCHEMA = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),  # key
        pa.field("path", pa.string(), nullable=False),  # the smallest path that holds this content
        pa.field("label", pa.string()),
        pa.field("given_split", pa.string()),
        pa.field("group", pa.string()),
        pa.field("duplicate_cluster", pa.string()),
        pa.field("split", pa.string(), nullable=False),  # train | val | test | out
        pa.field("reason", pa.string()),  # why it is out; null otherwise
        pa.field("weight", pa.float64(), nullable=False),  # loss weight in training; 1.0 in val and test
        pa.field("copies", pa.int32(), nullable=False),  # times seen per epoch; more than 1 when oversampled
        pa.field("split_id", pa.string(), nullable=False),  # partition
    ]
)

EXAMPLES_SCHEMA = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),  # key, with transform_hash
        pa.field("pixels", pa.binary(), nullable=False),  # uint8[height, width, channels], C order
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("channels", pa.int32(), nullable=False),
        pa.field("transform_hash", pa.string(), nullable=False),  # partition
    ]
)

FEATURES_SCHEMA = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),  # key, with transform_hash and feature_hash
        # The raw feature, C order, little-endian: float32[D] of the features that are complete, uint8[K, 128] of sift.
        pa.field("values", pa.binary(), nullable=False),
        pa.field("reason", pa.string()),  # why the feature says nothing of this image; null where it does
        pa.field("transform_hash", pa.string(), nullable=False),  # partition: of the examples that it was made from
        pa.field("feature_hash", pa.string(), nullable=False),  # partition
    ]
)

PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # content_id
        pa.field("path", pa.string(), nullable=False),  # key inside the partition: path below the date's inbox
        pa.field("label", pa.string()),  # null where problem is set
        pa.field("score", pa.float64()),  # probability of label
        pa.field("probabilities", pa.list_(pa.float64())),  # in the package's class order
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("transform_hash", pa.string(), nullable=False),
        pa.field("dataset_version", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),  # the inbox's tag of the file when it was listed; excluded from equality
        pa.field("mode", pa.string()),
        pa.field("mean", pa.float64()),
        pa.field("std", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("problem", pa.string()),
        # For drift: at most 64 features, projected as the model's drift reference says; null: it has none.
        pa.field("embedding", pa.list_(pa.float32())),
        pa.field("predicted_at", pa.timestamp("us", tz="UTC"), nullable=False),  # excluded from equality
        pa.field("dt", pa.string(), nullable=False),  # partition: YYYY-MM-DD
        pa.field("feed", pa.string(), nullable=False),  # partition
        pa.field("origin", pa.string(), nullable=False),  # partition: batch | stream
    ]
)

RAW_INDEX_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # key
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),  # relative to the lake, or absolute for an in-place source
        pa.field("etag", pa.string()),  # of an in-place source's file when it was indexed; null: it is in the lake
    ]
)

PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"

FEEDBACK_SCHEMA = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),  # key: hash of batch and line
        pa.field("image_id", pa.string()),  # content_id; null, like the next three, in a row that cannot be read
        pa.field("label", pa.string()),  # the true class, as its author says
        pa.field("author", pa.string()),
        pa.field("at", pa.timestamp("us", tz="UTC")),  # when the author said so
        pa.field("state", pa.string(), nullable=False),  # pending | accepted | rejected
        pa.field("reason", pa.string()),  # why it is rejected: one of darkroom.feedback.REASONS, then ": " and details
        pa.field("path", pa.string()),  # accepted and not of the source: the image's path inside the dataset
        pa.field("size_bytes", pa.int64()),  # likewise
        pa.field("decided_by", pa.string()),  # who accepted or rejected it; null: only the checks spoke
        pa.field("decided_at", pa.timestamp("us", tz="UTC")),
        pa.field("batch", pa.string(), nullable=False),  # sha256 of the file that it came in
        pa.field("file", pa.string(), nullable=False),  # that file's path below feedback/<dataset>/
        pa.field("line", pa.int64(), nullable=False),  # line of a CSV, row of a Parquet file from 1; 0: the whole file
        pa.field("received", pa.string()),  # the start of what stood there, where it cannot be read
        pa.field("dataset", pa.string(), nullable=False),  # partition
    ]
)

# The start of the paths of images that feedback brought. No source has such a path: sources skip hidden folders.
FEEDBACK_IMAGES = ".feedback/"

# The first word of an image's `problem`. Such files are rows, never crashes.
PROBLEMS = ("empty", "too_large", "too_many_pixels", "not_an_image", "undecodable", "truncated")

# Why an image is in no split.
REASON_PROBLEM = "problem"
REASON_NO_LABEL = "no label"
REASON_CONTRADICTION = "contradicting labels"
REASON_LEAK = "would tie two splits"
REASON_UNDERSAMPLED = "undersampled"
REASON_SURPLUS = "beyond the requested count"

# Of these, what some training takes back: k-fold what undersampling left out, and the split as given what leaks there.
TAKEN_BACK = (REASON_UNDERSAMPLED, REASON_LEAK)


@dataclass(frozen=True)
class TableSpec:
    """A table: where it is (relative to the lake), its schema and its partition columns."""

    path: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]


def images_table(dataset: str) -> TableSpec:
    return TableSpec(f"tables/{checked_name(dataset)}/images", IMAGES_SCHEMA, ("version",), ("path",))


def splits_table(dataset: str) -> TableSpec:
    return TableSpec(f"tables/{checked_name(dataset)}/splits", SPLITS_SCHEMA, ("split_id",), ("content_id",))


def examples_table(dataset: str) -> TableSpec:
    return TableSpec(f"tables/{checked_name(dataset)}/examples", EXAMPLES_SCHEMA, ("transform_hash",), ("content_id",))


def features_table(dataset: str) -> TableSpec:
    partition_by = ("transform_hash", "feature_hash")
    return TableSpec(f"tables/{checked_name(dataset)}/features", FEATURES_SCHEMA, partition_by, ("content_id",))


def feedback_table(dataset: str) -> TableSpec:
    return TableSpec(f"tables/{checked_name(dataset)}/feedback", FEEDBACK_SCHEMA, ("dataset",), ("batch", "line"))


def predictions_table(model: str) -> TableSpec:
    path = f"tables/predictions/{checked_name(model)}"
    return TableSpec(path, PREDICTIONS_SCHEMA, ("dt", "feed", "origin"), ("path",))


def raw_blob(dataset: str, content_id: str) -> str:
    return f"raw/{checked_name(dataset)}/blobs/{content_id[:2]}/{content_id}"


def raw_index(dataset: str, index_id: str) -> str:
    return f"raw/{checked_name(dataset)}/index/{index_id}.parquet"


def feedback_index(dataset: str, name: str) -> str:
    """Names blobs that came by feedback, and from no source."""
    return f"{feedback_indexes(dataset)}{name}.parquet"


def feedback_indexes(dataset: str) -> str:
    """The start of all those names."""
    return raw_index(dataset, "feedback-").removesuffix(".parquet")


def raw_receipt(dataset: str, fingerprint: str) -> str:
    """Remembers which index a source's fingerprint led to, so that a second download is a no-op."""
    return f"raw/{checked_name(dataset)}/receipts/{fingerprint}.json"


def dataset_reports(dataset: str, identity: str, kind: str) -> str:
    """Folder of a dataset's reports; identity is a dataset version or a split_id; kind: eda, validation, ..."""
    return f"reports/datasets/{checked_name(dataset)}/{identity}/{kind}"


def training_reports(model: str, run_id: str) -> str:
    return f"reports/training/{checked_name(model)}/{run_id}"


def prediction_reports(model: str, dt: str, feed: str) -> str:
    return f"reports/predictions/{checked_name(model)}/{dt}/{checked_name(feed)}"


def drift_reports(model: str, feed: str) -> str:
    """Folder of what the drift checks of a feed's dates found: <dt>.json and <dt>.html."""
    return f"reports/drift/{checked_name(model)}/{checked_name(feed)}"


def run_page(kind: str, name: str) -> str:
    """The page of one run that wrote no partition of its own; kind: dry-run, reconcile, vacuum."""
    return f"reports/runs/{kind}/{stable_hash(name)}.html"


def model_package(model: str, package_id: str) -> str:
    """A model package is one zip file, named by the SHA-256 of its content."""
    return f"packages/{checked_name(model)}/{package_id}.zip"


def learner_state(package: str) -> str:
    """Where the learner whose package has this path keeps what a later training goes on from."""
    return "states" + package.removeprefix("packages").removesuffix(".zip") + ".npz"


def package_of_state(state: str) -> str:
    """The package's path, from that of the learner's state."""
    return "packages" + state.removeprefix("states").removesuffix(".npz") + ".zip"


def job_outcome(driver: str) -> str:
    """Where a Spark driver that has a machine of its own leaves result.json or error.json."""
    return f"jobs/{checked_name(driver)}"


def champion_entry(model: str, number: int) -> str:
    return f"champions/{checked_name(model)}/{number}.json"


def feedback_folder(dataset: str) -> str:
    """Where files of feedback are dropped: feedback/<dataset>/<any name>.csv or .parquet."""
    return f"feedback/{checked_name(dataset)}"


def feedback_image(feed: str, dt: str, path: str) -> str:
    """The path inside a dataset of an image that came by an inbox."""
    return f"{FEEDBACK_IMAGES}{checked_name(feed)}/{dt}/{path}"


def performance_report(model: str, first: str, last: str) -> str:
    return f"reports/performance/{checked_name(model)}/{first}_{last}.json"


def inbox(feed: str, dt: str) -> str:
    return f"inbox/{checked_name(feed)}/dt={dt}"


def inbox_binding(feed: str) -> str:
    """Names the model that a feed is classified with: {"model": name}. Absent: the feed's own name."""
    return f"inbox/{checked_name(feed)}/_feed.json"


_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESERVED = frozenset({"predictions"})


def checked_name(name: str) -> str:
    """The name of a dataset, model or feed, when it may stand in a path. Raises InvalidRequest."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _RESERVED:
        raise InvalidRequest(
            f"The name {name!r} cannot be used. Expected 1 to 63 lower-case letters, digits, '-' or '_', "
            f"starting with a letter or digit, and not {', '.join(sorted(_RESERVED))}. Choose another name."
        )
    return name


def stable_hash(value: Mapping[str, Any] | list[Any] | str, length: int = 16) -> str:
    """The first ``length`` hex digits of the SHA-256 of a canonical JSON form: equal values, equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


# Fields of a partition's rows that two runs over the same images may differ in.
NOT_COMPARED = frozenset({"predicted_at", "etag"})
