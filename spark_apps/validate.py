"""Validation of a dataset version and its split with Great Expectations, on Spark DataFrames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from darkroom.contract import OUT, REASON_UNDERSAMPLED, SPLITS, TRAIN
from darkroom.expectations import Expected, ValidationLimits, allowed_deviation, expected_share
from darkroom.splitting import SplitOptions

SHOWN = 20  # offending rows that are kept of each expectation


def build_frames(
    images: DataFrame, splits: DataFrame, options: SplitOptions, limits: ValidationLimits, *, proportions: bool = True
) -> dict[str, DataFrame]:
    """The frames that ``darkroom.expectations.FRAMES`` names, from a manifest and a split as they are stored.

    ``proportions``: whether the shares are held against the options.
    """
    spark = images.sparkSession
    used = splits.where(F.col("split") != OUT)
    return {
        "images": images,
        "usable": images.where(F.col("problem").isNull()),
        "splits": splits,
        "used": used,
        "columns": _columns(spark, {"images": images, "splits": splits}),
        "balance": _balance(spark, splits, options, limits, proportions),
        "figures": _figures(images, splits),
    }


def check(frames: Mapping[str, DataFrame], expectations: list[Expected]) -> list[dict[str, Any]]:
    """Each expectation's result as Great Expectations gives it (JSON data), in the order of ``expectations``.

    Offending values and rows are looked for only where an expectation is not met: each look is a Spark job.
    The context is ephemeral: nothing is written, and nothing is sent anywhere.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_or_update_spark("darkroom", persist=False)
    assets = {name: source.add_dataframe_asset(name) for name in dict.fromkeys(one.frame for one in expectations)}
    batches = {
        name: asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frames[name]})
        for name, asset in assets.items()
    }

    def run(frame: str, numbers: list[int], result_format: dict[str, Any]) -> None:
        if numbers:
            wanted = [_as_gx(gx, expectations[number], number) for number in numbers]
            suite = gx.ExpectationSuite(name=frame, expectations=wanted)
            results = batches[frame].validate(suite, result_format=result_format).to_json_dict()["results"]
            found.update({result["expectation_config"]["meta"]["number"]: result for result in results})

    found: dict[int, dict[str, Any]] = {}
    for frame in batches:
        here = [number for number, one in enumerate(expectations) if one.frame == frame]
        run(frame, [n for n in here if expectations[n].is_by_row], {"result_format": "BOOLEAN_ONLY"})
        run(frame, [n for n in here if not expectations[n].is_by_row], {"result_format": "SUMMARY"})
        for number in here:
            if expectations[number].is_by_row and not found[number]["success"]:
                index = {"unexpected_index_column_names": list(expectations[number].index)}
                run(frame, [number], {"result_format": "SUMMARY", "partial_unexpected_count": SHOWN, **index})
    return [found[number] for number in range(len(expectations))]


def labels_of(images: DataFrame) -> list[str]:
    """The classes that the manifest names, sorted."""
    rows = images.where(F.col("label").isNotNull()).select("label").distinct().collect()
    return sorted(row["label"] for row in rows if row["label"])


def crossing(images: DataFrame, splits: DataFrame) -> DataFrame:
    """Contents, groups and duplicate clusters that lie in more than one split: kind, key, splits (array)."""
    used = splits.where(F.col("split") != OUT).select("content_id", "split", "duplicate_cluster")
    grouped = images.where(F.col("group").isNotNull()).select("content_id", "group")
    in_groups = grouped.join(used, on="content_id", how="inner")
    keys = (
        used.select(F.lit("content").alias("kind"), F.col("content_id").alias("key"), "split")
        .unionByName(in_groups.select(F.lit("group").alias("kind"), F.col("group").alias("key"), "split"))
        .unionByName(
            used.where(F.col("duplicate_cluster").isNotNull()).select(
                F.lit("cluster").alias("kind"), F.col("duplicate_cluster").alias("key"), "split"
            )
        )
    )
    spread = keys.groupBy("kind", "key").agg(F.sort_array(F.collect_set("split")).alias("splits"))
    return spread.where(F.size("splits") > 1).select("kind", "key", "splits")


def _as_gx(gx: Any, expected: Expected, number: int) -> Any:
    kind = "".join(word.capitalize() for word in expected.type.split("_"))
    return getattr(gx.expectations, kind)(**expected.kwargs, meta={"number": number, "name": expected.name})


def _columns(spark: SparkSession, tables: Mapping[str, DataFrame]) -> DataFrame:
    rows = [
        (f"{table}.{one.name} {one.dataType.simpleString()}",)
        for table, frame in tables.items()
        for one in frame.schema
    ]
    return spark.createDataFrame(rows, "column_and_type string")


def _figures(images: DataFrame, splits: DataFrame) -> DataFrame:
    contents = images.groupBy("content_id").agg(
        F.collect_set(F.when(F.col("label") != "", F.col("label"))).alias("labels"),
        F.max(F.col("problem").isNotNull()).alias("broken"),
    )
    both = contents.withColumn("in_manifest", F.lit(True)).join(
        splits.withColumn("in_split", F.lit(True)), on="content_id", how="full"
    )
    is_used = F.col("split") != OUT
    of_splits = both.select(
        _count(F.col("in_split").isNull(), "contents_missing_from_split"),
        _count(F.col("in_manifest").isNull(), "contents_unknown_to_manifest"),
        _count(is_used & (F.size("labels") != 1) | ~F.array_contains("labels", F.col("label")), "labels_that_differ"),
        _count(is_used & F.col("broken"), "problems_in_a_split"),
        _count(
            is_used & (F.col("split") != TRAIN) & ((F.col("weight") != 1) | (F.col("copies") != 1)),
            "reweighted_outside_train",
        ),
        _count(F.col("in_split") & (is_used == F.col("reason").isNotNull()), "unexplained"),
    )
    kinds = crossing(images, splits).select(
        _count(F.col("kind") == "content", "contents_in_two_splits"),
        _count(F.col("kind") == "group", "groups_in_two_splits"),
        _count(F.col("kind") == "cluster", "clusters_in_two_splits"),
    )
    share = images.select(F.avg(F.col("problem").isNotNull().cast("double")).alias("problem_share"))
    return of_splits.crossJoin(kinds).crossJoin(share)


def _balance(
    spark: SparkSession, splits: DataFrame, options: SplitOptions, limits: ValidationLimits, proportions: bool
) -> DataFrame:
    """label ("all classes" for the sum), split, images, expected, allowed, beyond_chance; a row a class and split."""
    rows = _unit_rows(splits).collect()
    labels = sorted({row["label"] for row in rows})
    largest = max((row["largest"] for row in rows), default=0)
    found: list[tuple[str, str, int, float | None, float | None, float]] = []
    free = sum(row["images"] for row in rows if expected_share(options, row["place"], 1) is not None)
    for label in [*labels, None]:
        of_label = [row for row in rows if label is None or row["label"] == label]
        movable = [row for row in of_label if expected_share(options, row["place"], 1) is not None]
        images, squares = sum(row["images"] for row in movable), sum(row["squares"] for row in movable)
        for split in SPLITS:
            here = sum(row["images"] for row in of_label if row["place"] == split)
            kept = sum(row["kept"] for row in of_label if row["place"] == split)
            share = expected_share(options, split, free) if proportions else None
            if share is None:
                found.append((label or "all classes", split, kept, None, None, 0.0))
                continue
            allowed = allowed_deviation(share, squares, largest, options.minimum_per_class, limits.chance)
            beyond = max(0.0, abs(here - share * images) - allowed)
            found.append((label or "all classes", split, kept, round(share * images, 1), round(allowed, 1), beyond))
    kinds = "label string, split string, images long, expected double, allowed double, beyond_chance double"
    return spark.createDataFrame(found, kinds)


def _unit_rows(splits: DataFrame) -> DataFrame:
    """label, place (the split; train for what undersampling took out), images, kept, squares, largest.

    Units are seen through their group, or else their cluster: near enough for what chance allows.
    """
    sampled = F.col("reason") == REASON_UNDERSAMPLED
    place = F.when(F.coalesce(sampled, F.lit(False)), TRAIN).otherwise(F.col("split"))
    unit = F.coalesce("group", "duplicate_cluster", "content_id")
    kept = (F.col("split") != OUT).cast("long")
    units = (
        splits.select("label", place.alias("place"), unit.alias("unit"), kept.alias("kept"))
        .where(F.col("place") != OUT)
        .groupBy("label", "place", "unit")
        .agg(F.count("*").alias("size"), F.sum("kept").alias("kept"))
    )
    return units.groupBy("label", "place").agg(
        F.sum("size").alias("images"),
        F.sum("kept").alias("kept"),
        F.sum(F.col("size") * F.col("size")).alias("squares"),
        F.max("size").alias("largest"),
    )


def _count(condition: Any, name: str) -> Any:
    return F.count(F.when(condition, 1)).alias(name)
