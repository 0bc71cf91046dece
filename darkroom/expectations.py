"""What is expected of a dataset version and its split, with thresholds derived from the options. Plain data.

``spark_apps.validate`` hands each Expected to Great Expectations, on one of the frames named in FRAMES.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from darkroom.contract import IMAGES_SCHEMA, OUT, SPLITS, SPLITS_SCHEMA, TEST
from darkroom.splitting.options import SplitOptions

FRAMES = {
    "images": "the manifest: a row a file",
    "usable": "the files of the manifest that have no problem",
    "splits": "the split: a row a distinct image",
    "used": "the images in train, val or test",
    "columns": "the columns of both tables and their types, as stored",
    "balance": "images by class and split, beside what the options ask for",
    "figures": "counts over the manifest and the split together",
}

# The type names of Spark SQL for the types that the contract uses.
_SPARK_TYPES = {pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint", pa.float64(): "double"}


class ValidationLimits(BaseModel):
    """What a dataset may look like, beyond what its split options say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] | None = Field(None, description="The classes. Default: those that the manifest has.")
    min_side: int = Field(8, ge=1, description="Least width and height of a usable image. Pixels.")
    max_side: int = Field(30_000, ge=1, description="Greatest width and height of a usable image. Pixels.")
    max_problem_share: float = Field(0.1, ge=0, le=1, description="Greatest share of files with a problem.")
    chance: float = Field(4.0, gt=0, description="How many standard deviations a split may be off by chance.")

    @model_validator(mode="after")
    def _ordered(self) -> ValidationLimits:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side {self.min_side} is more than max_side {self.max_side}")
        return self


@dataclass(frozen=True)
class Expected:
    """One expectation: a name for people, the frame, the type by its Great Expectations name, and its arguments."""

    name: str
    frame: str
    type: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    index: tuple[str, ...] = ("content_id",)  # columns that name an offending row

    @property
    def is_by_row(self) -> bool:
        """Whether each row meets it or not; otherwise one value is observed for the whole frame."""
        return self.type.startswith("expect_column_values_")


def expected_columns(schema: pa.Schema) -> list[str]:
    """ "name type" of each column, with Spark SQL's type names."""
    return [f"{one.name} {_SPARK_TYPES[one.type]}" for one in schema]


def plan_expectations(options: SplitOptions, limits: ValidationLimits, labels: list[str]) -> list[Expected]:
    """Every expectation, in the order of the page. ``labels``: the classes that each split must have."""
    return [*_shape(), *_values(limits, labels), *_sides(limits), *_split_rules(options), *_agreement(limits)]


def allowed_deviation(share: float, squares: int, largest: int, minimum: int, chance: float) -> float:
    """How far, in images, a split may be from its share by chance.

    Units of sizes s_u, each placed whole and at random, give the variance share * (1 - share) * sum(s_u ** 2). On top
    of ``chance`` standard deviations come one unit (the last one is not cut) and the minimum of a class.
    ``squares``: the sum of the squared unit sizes; ``largest``: the largest unit.
    """
    return chance * math.sqrt(share * (1 - share) * squares) + largest + minimum


def expected_share(options: SplitOptions, split: str, images: int) -> float | None:
    """The share of ``images`` placeable images that a split should have; None where nothing is asked for it."""
    if options.keep_given_test and split == TEST:
        return None
    if options.counts is None:
        return options.share(split)
    asked = options.counts.model_dump()
    rest = images - sum(count or 0 for count in asked.values())
    return (rest if asked[split] is None else asked[split]) / images if images else None


def _shape() -> list[Expected]:
    tables = {"images": IMAGES_SCHEMA, "splits": SPLITS_SCHEMA}
    typed = [f"{table}.{column}" for table, schema in tables.items() for column in expected_columns(schema)]
    found = [
        Expected(
            f"{table} has the columns of the contract",
            table,
            "expect_table_columns_to_match_set",
            {"column_set": schema.names, "exact_match": True},
        )
        for table, schema in tables.items()
    ]
    return [
        *found,
        Expected(
            "columns have the types of the contract",
            "columns",
            "expect_column_distinct_values_to_equal_set",
            {"column": "column_and_type", "value_set": typed},
        ),
    ]


def _values(limits: ValidationLimits, labels: list[str]) -> list[Expected]:
    hexadecimal = {"column": "content_id", "regex": "^[0-9a-f]{64}$"}
    classes = sorted(limits.labels or labels)
    return [
        Expected(
            "every file has an address", "images", "expect_column_values_to_not_be_null", {"column": "uri"}, ("path",)
        ),
        Expected("paths are unique", "images", "expect_column_values_to_be_unique", {"column": "path"}, ("path",)),
        Expected("content ids are SHA-256", "images", "expect_column_values_to_match_regex", hexadecimal, ("path",)),
        Expected(
            "each content stands once in the split",
            "splits",
            "expect_column_values_to_be_unique",
            {"column": "content_id"},
        ),
        Expected(
            "splits are train, val, test or out",
            "splits",
            "expect_column_values_to_be_in_set",
            {"column": "split", "value_set": [*SPLITS, OUT]},
            ("path",),
        ),
        Expected(
            "every image in a split has a class",
            "used",
            "expect_column_values_to_not_be_null",
            {"column": "label"},
            ("path",),
        ),
        Expected(
            "the classes in the split are those of the dataset",
            "used",
            "expect_column_distinct_values_to_equal_set",
            {"column": "label", "value_set": classes},
        ),
        Expected(
            "every weight is above zero",
            "used",
            "expect_column_min_to_be_between",
            {"column": "weight", "min_value": 0, "strict_min": True},
        ),
    ]


def _sides(limits: ValidationLimits) -> list[Expected]:
    found = []
    for side in ("width", "height"):
        low, high = {"column": side, "min_value": limits.min_side}, {"column": side, "max_value": limits.max_side}
        found += [
            Expected(f"no image has too small a {side}", "usable", "expect_column_min_to_be_between", low),
            Expected(f"no image has too large a {side}", "usable", "expect_column_max_to_be_between", high),
        ]
    return found


def _split_rules(options: SplitOptions) -> list[Expected]:
    rules = [
        _zero("contents_in_two_splits", "no content is in two splits"),
        _zero("groups_in_two_splits", "no group is in two splits"),
        _zero("clusters_in_two_splits", "no duplicate cluster is in two splits"),
        _zero("reweighted_outside_train", "val and test are not reweighted"),
        _zero("unexplained", "what is out has a reason, and only that"),
        Expected(
            "each split has enough images of each class",
            "balance",
            "expect_column_values_to_be_between",
            {"column": "images", "min_value": options.minimum_per_class},
            ("label", "split"),
        ),
    ]
    proportions = Expected(
        "each split's share, in all and of each class, is what was asked for, within chance",
        "balance",
        "expect_column_values_to_be_between",
        {"column": "beyond_chance", "min_value": 0, "max_value": 0},
        ("label", "split", "images", "expected", "allowed"),
    )
    return [*rules, proportions]


def _agreement(limits: ValidationLimits) -> list[Expected]:
    return [
        _zero("contents_missing_from_split", "every content of the manifest is in the split table"),
        _zero("contents_unknown_to_manifest", "the split table has no content that the manifest lacks"),
        _zero("labels_that_differ", "labels in the split are those of the manifest"),
        _zero("problems_in_a_split", "no image with a problem is in a split"),
        Expected(
            "few files have a problem",
            "figures",
            "expect_column_max_to_be_between",
            {"column": "problem_share", "min_value": 0, "max_value": limits.max_problem_share},
        ),
    ]


def _zero(column: str, name: str) -> Expected:
    return Expected(
        name, "figures", "expect_column_max_to_be_between", {"column": column, "min_value": 0, "max_value": 0}
    )
