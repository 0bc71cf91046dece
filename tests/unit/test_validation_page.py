"""The page and the sentence of a validation."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from darkroom.expectations import (
    FRAMES,
    Expected,
    ValidationLimits,
    allowed_deviation,
    expected_share,
    plan_expectations,
)
from darkroom.splitting import checked_options
from darkroom.validation_page import Verdict, build_page, failure_sentence, judge, threshold_text

pytestmark = pytest.mark.unit

LIMITS = ValidationLimits.model_validate({})
BY_ROW = Expected("ids are unique", "splits", "expect_column_values_to_be_unique", {"column": "content_id"})
MAXIMUM = Expected(
    "few", "figures", "expect_column_max_to_be_between", {"column": "problem_share", "min_value": 0, "max_value": 0.1}
)


def result(success: bool, **details: Any) -> dict[str, Any]:
    return {"success": success, "result": details, "exception_info": {"raised_exception": False}}


def it_plans_expectations_on_known_frames_with_names_of_their_own() -> None:
    planned = plan_expectations(checked_options({"minimum_per_class": 7}), LIMITS, ["b", "a"])
    assert {one.frame for one in planned} == set(FRAMES)
    assert len({one.name for one in planned}) == len(planned)
    minimum = next(one for one in planned if "enough images" in one.name)
    assert minimum.kwargs["min_value"] == 7
    classes = next(one for one in planned if "classes in the split" in one.name)
    assert classes.kwargs["value_set"] == ["a", "b"]


def it_takes_the_classes_from_the_limits_where_they_name_them() -> None:
    limits = ValidationLimits.model_validate({"labels": ["x", "y"]})
    planned = plan_expectations(checked_options({}), limits, ["a", "b"])
    assert next(one for one in planned if "classes in the split" in one.name).kwargs["value_set"] == ["x", "y"]


@pytest.mark.parametrize("wrong", [{"min_side": 10, "max_side": 5}, {"max_problem_share": 2}, {"sides": 1}])
def it_refuses_wrong_limits(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ValidationLimits.model_validate(wrong)


def it_asks_for_shares_by_proportion_count_or_not_at_all() -> None:
    assert expected_share(checked_options({}), "val", 1000) == 0.15
    counts = checked_options({"counts": {"val": 100, "test": 200}})
    assert [expected_share(counts, name, 1000) for name in ("train", "val", "test")] == [0.7, 0.1, 0.2]
    kept = checked_options({"keep_given_test": True})
    assert expected_share(kept, "test", 1000) is None
    assert expected_share(kept, "val", 1000) == pytest.approx(0.15 / 0.85)


def it_allows_more_by_chance_where_units_are_larger() -> None:
    single = allowed_deviation(0.5, squares=100, largest=1, minimum=3, chance=4)
    assert single == pytest.approx(4 * 5 + 1 + 3)
    assert allowed_deviation(0.5, squares=1000, largest=10, minimum=3, chance=4) > 3 * single


def it_judges_a_met_and_an_unmet_expectation() -> None:
    assert judge(BY_ROW, {**result(True), "result": {}}).observed == "every row"
    offending = [{"content_id": "aa"}, {"content_id": "bb"}]
    unmet = judge(BY_ROW, result(False, element_count=90, unexpected_count=2, partial_unexpected_index_list=offending))
    assert not unmet.met
    assert unmet.observed == "2 of 90 rows not so, such as (content_id aa), (content_id bb)"
    assert judge(MAXIMUM, result(False, observed_value=0.25)).observed == "0.2500"


def it_is_unmet_when_great_expectations_could_not_check() -> None:
    raised = {
        "success": False,
        "result": {},
        "exception_info": {"m": {"raised_exception": True, "exception_message": "no\nx"}},
    }
    verdict = judge(MAXIMUM, raised)
    assert not verdict.met
    assert verdict.observed == "could not be checked: no"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"column": "x", "min_value": 0, "max_value": 0}, "x: 0"),
        ({"column": "x", "min_value": 0, "max_value": 0.5}, "x: 0 to 0.5000"),
        ({"column": "x", "min_value": 0, "strict_min": True}, "x: more than 0"),
        ({"column": "x", "max_value": 9}, "x: at most 9"),
        ({"column_set": ["a", "b"]}, "a, b"),
        ({"column": "x", "regex": "^a"}, "x: ^a"),
        ({"column": "x"}, "x"),
    ],
)
def it_words_a_threshold(kwargs: dict[str, Any], text: str) -> None:
    assert threshold_text(kwargs) == text


def it_builds_a_page_without_outside_assets_failing_ones_first() -> None:
    ugly = "<script>alert(1)</script>"
    verdicts = [
        Verdict("all is well", "images", True, "every row", "x"),
        Verdict("no group is in two splits", "figures", False, ugly, "0", ({"group": ugly, "split": None},)),
    ]
    page = build_page("d", "v1", "s1", verdicts, {"train": {"a": 1200, ugly: 2}, "val": {"a": 3}})
    assert ugly not in page
    assert page.index("no group is in two splits") < page.index("all is well")
    assert "http" not in page.replace("http-equiv", "")
    assert "1,200" in page
    assert "prefers-color-scheme:dark" in page


def it_says_which_expectation_what_was_observed_and_where_the_page_is() -> None:
    verdicts = [Verdict("few", "figures", False, "0.2500", "problem_share: 0 to 0.1000")] * 2
    sentence = failure_sentence(verdicts, "reports/p/index.html")
    for part in (
        "'few'",
        "observed 0.2500",
        "problem_share: 0 to 0.1000",
        "1 more expectation",
        "reports/p/index.html",
    ):
        assert part in sentence
