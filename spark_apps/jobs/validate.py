"""The validation job: {"dataset", "version", "split_id", "limits"} to a verdict and a page; fails where it says no."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from darkroom.codedigest import code_digest
from darkroom.contract import SPLITS, dataset_reports, images_table, splits_table, stable_hash
from darkroom.errors import InvalidRequest, ValidationFailed
from darkroom.expectations import ValidationLimits, plan_expectations
from darkroom.outcome import run_job
from darkroom.requests import checked_job
from darkroom.splitting import SplitOptions
from darkroom.storage import Storage, open_lake
from darkroom.tables import Table
from darkroom.validation_page import Verdict, build_page, failure_sentence, judge
from spark_apps.session import spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class ValidateRequest(BaseModel):
    """What the validation job is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: str
    split_id: str
    limits: ValidationLimits = Field(default_factory=lambda: ValidationLimits.model_validate({}))


def validate(request: dict[str, Any]) -> dict[str, Any]:
    """Check a split, or say that it was checked; then no Spark session is started."""
    started = time.monotonic()
    lake = open_lake()
    asked = checked_request(request)
    result = existing_result(lake, asked)
    if result is None:
        with spark_session("darkroom-validate") as spark:
            # Dozens of small queries: planning each stage anew costs more than it saves.
            spark.conf.set("spark.sql.adaptive.enabled", "false")
            spark.conf.set("spark.sql.shuffle.partitions", str(spark.sparkContext.defaultParallelism))
            result = validate_split(spark, lake, asked)
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def checked_request(unchecked: dict[str, Any]) -> ValidateRequest:
    """Raises InvalidRequest that names the wrong fields."""
    return checked_job(ValidateRequest, unchecked, "validation")


def existing_result(lake: Storage, asked: ValidateRequest) -> dict[str, Any] | None:
    """The result of an earlier run on the same inputs that found nothing wrong, or None."""
    try:
        recorded = json.loads(lake.read(f"{_folder(asked)}/result.json"))
    except FileNotFoundError:
        return None
    if recorded["fingerprint"] != _fingerprint(asked) or not recorded["success"]:
        return None
    return {**_told(recorded), "changed": False}


def validate_split(spark: SparkSession, lake: Storage, asked: ValidateRequest) -> dict[str, Any]:
    """Check every expectation, leave index.html, result.json and gx.json in the lake.

    Raises ValidationFailed, with the page, when one is not met; InvalidRequest for an unknown version or split.
    """
    from spark_apps.tables import read_table
    from spark_apps.validate import build_frames, check, labels_of

    images, splits = Table(lake, images_table(asked.dataset)), Table(lake, splits_table(asked.dataset))
    recorded = _recorded(images, splits, asked)
    options = SplitOptions.model_validate(recorded["options"])
    files = read_table(spark, images, {"version": asked.version}, as_stored=True).coalesce(4).cache()
    rows = read_table(spark, splits, {"split_id": asked.split_id}, as_stored=True).coalesce(4).cache()
    frames = build_frames(files, rows, options, asked.limits, proportions=_drawn_by_options(splits, recorded))
    frames["figures"] = frames["figures"].cache()
    expectations = plan_expectations(options, asked.limits, labels_of(files))
    results = check(frames, expectations)
    for frame in (files, rows, frames["figures"]):
        frame.unpersist()
    verdicts = [judge(expected, result) for expected, result in zip(expectations, results, strict=True)]
    return _leave(lake, asked, recorded, verdicts, results)


def _recorded(images: Table, splits: Table, asked: ValidateRequest) -> dict[str, Any]:
    recorded = splits.last_commit({"split_id": asked.split_id})
    if recorded is None or images.last_commit({"version": asked.version}) is None:
        missing = f"split {asked.split_id!r}" if recorded is None else f"version {asked.version!r}"
        raise InvalidRequest(
            f"The dataset {asked.dataset!r} has no {missing} in {images.storage.root}. Run the steps before this one, "
            "or correct the request."
        )
    if recorded["version"] != asked.version:
        raise InvalidRequest(
            f"The split {asked.split_id!r} is one of version {recorded['version']!r}; received version "
            f"{asked.version!r}. Give the version that was split."
        )
    return recorded


def _drawn_by_options(splits: Table, recorded: dict[str, Any]) -> bool:
    """Whether the shares are the options' doing: not where a parent drawn otherwise was named on purpose."""
    if recorded["parent"] is None:
        return True
    parent = splits.last_commit({"split_id": recorded["parent"]})
    return parent is not None and parent["policy"] == recorded["policy"]


def _leave(
    lake: Storage,
    asked: ValidateRequest,
    recorded: dict[str, Any],
    verdicts: list[Verdict],
    results: list[dict[str, Any]],
) -> dict[str, Any]:
    folder, success = _folder(asked), all(verdict.met for verdict in verdicts)
    page = f"{folder}/index.html"
    counts = {split: recorded["summary"]["counts"][split] for split in SPLITS}
    text = build_page(asked.dataset, asked.version, asked.split_id, verdicts, counts)
    result = {
        "success": success,
        "expectations": len(verdicts),
        "failed": [verdict.name for verdict in verdicts if not verdict.met],
        "page": page,
        "fingerprint": _fingerprint(asked),
        "verdicts": [verdict.as_dict() for verdict in verdicts],
    }
    lake.write(page, text.encode())
    lake.write(f"{folder}/gx.json", json.dumps(results, sort_keys=True).encode())
    lake.write(f"{folder}/result.json", json.dumps(result, sort_keys=True).encode())
    if not success:
        raise ValidationFailed(failure_sentence(verdicts, page), page=page)
    return {**_told(result), "changed": True}


def _told(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("success", "expectations", "page")}


def _folder(asked: ValidateRequest) -> str:
    return dataset_reports(asked.dataset, asked.split_id, "validation")


def _fingerprint(asked: ValidateRequest) -> str:
    return stable_hash({"request": asked.model_dump(mode="json"), "code": code_digest()})


def main(argv: Sequence[str]) -> int:
    return run_job(argv, validate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
