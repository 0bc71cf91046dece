"""Forms: every wrong field is found before any work starts, alone and together."""

from __future__ import annotations

import pytest

from darkroom.date_requests import BatchRequest, ReconcileRequest, checked_partition_date
from darkroom.errors import InvalidRequest
from darkroom.expectations import ValidationLimits
from darkroom.prepare_request import PrepareRequest
from darkroom.requests import PromoteRequest, RollbackRequest, TrainRequest, parse_request
from darkroom.sources import ArchiveSource, FolderSource, KaggleSource, PhantomSource, parse_source
from darkroom.splitting.options import Counts, Proportions, checked_options
from spark_apps.manifest import plan_manifest
from spark_apps.preprocess import plan_preprocessing
from training import flow

pytestmark = pytest.mark.unit

WRONG = {
    "dataset": "My Data",
    "source": "ftp",
    "in_place": "perhaps",
    "images": 3,
    "labels": "([",
    "groups": "(",
    "sha256": "12",
    "train": 0.0,
    "val": 1.5,
    "test": -1,
    "train_count": -1,
    "val_count": -2,
    "test_count": "many",
    "keep_given_test": "perhaps",
    "minimum_per_class": 0,
    "classes": [1],
    "max_problem_share": 2,
    "location": 7,
    "rebalance": "smote",
    "configs": [],
    "seed": -1,
}


def it_accepts_an_empty_form():
    assert parse_request(PrepareRequest, {}).dataset == "phantom"


@pytest.mark.parametrize("name", WRONG)
def it_names_the_one_field_that_is_wrong(name):
    with pytest.raises(InvalidRequest, match=name):
        parse_request(PrepareRequest, {name: WRONG[name]})


def it_names_all_wrong_fields_together():
    with pytest.raises(InvalidRequest) as caught:
        parse_request(PrepareRequest, WRONG)
    assert all(f"{name}: " in caught.value.message or f"{name}." in caught.value.message for name in WRONG)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"train": 0.7, "val": 0.2, "test": 0.2}, "add up to 1.1"),
        ({"source": "archive"}, "needs a location"),
        ({"source": "kaggle"}, "needs a location"),
        ({"source": "kaggle", "location": "ann/pets", "in_place": True}, "only a folder's files can stay in place"),
        ({"location": "/data"}, "takes no location"),
        ({"source": "archive", "location": "/a.zip", "sha256": "12"}, "64 hex digits"),
        ({"source": "folder", "location": "/a", "sha256": "a" * 64}, "goes with an archive"),
        ({"labels": "{"}, "not JSON"),
        ({"labels": '{"a": 1}'}, "JSON object from class name to class name"),
        ({"labels": "(["}, "regular expression"),
        ({"colour": "red"}, "colour"),
        ({"train_count": 100}, "without one for validation"),
        ({"val_count": 100}, "either test_count or keep_given_test"),
        ({"val_count": 100, "test_count": 10, "keep_given_test": True}, "either test_count or keep_given_test"),
    ],
)
def it_refuses_fields_that_do_not_go_together(fields, word):
    with pytest.raises(InvalidRequest, match=word):
        parse_request(PrepareRequest, fields)


def it_names_everything_that_does_not_go_together_at_once():
    with pytest.raises(InvalidRequest) as caught:
        parse_request(PrepareRequest, {"train": 0.9, "source": "archive", "train_count": 5})
    for words in ("add up to 1.2", "needs a location", "without one for validation"):
        assert words in caught.value.message


def it_asks_for_shares_or_for_counts():
    shares = parse_request(PrepareRequest, {}).split_options()
    counts = parse_request(PrepareRequest, {"val_count": 30, "test_count": 40, "minimum_per_class": 5}).split_options()
    assert checked_options(shares).proportions == Proportions()
    assert checked_options(counts).counts == Counts(val=30, test=40)
    assert checked_options(counts).minimum_per_class == 5
    kept = parse_request(PrepareRequest, {"train_count": 9, "val_count": 3, "keep_given_test": True}).split_options()
    assert checked_options(kept).counts == Counts(train=9, val=3)


def it_passes_limits_on_to_the_validation():
    limits = parse_request(PrepareRequest, {"classes": ["b", "a"], "max_problem_share": 0.3}).validation_limits()
    checked = ValidationLimits.model_validate(limits)
    assert (checked.labels, checked.max_problem_share) == (("a", "b"), 0.3)
    assert ValidationLimits.model_validate(parse_request(PrepareRequest, {}).validation_limits()) == ValidationLimits()


def it_says_what_was_received():
    with pytest.raises(InvalidRequest, match="'smote'"):
        parse_request(PrepareRequest, {"rebalance": "smote"})


@pytest.mark.parametrize("key", [None, "", "2026-1-5", "20260105", "yesterday", "2026-02-30", "2026-01-05T00:00:00"])
def it_refuses_what_is_not_a_date(key):
    with pytest.raises(InvalidRequest, match="2026-01-31"):
        checked_partition_date(key)


def it_takes_a_date():
    assert checked_partition_date("2026-02-28") == "2026-02-28"


@pytest.mark.parametrize("kind", [TrainRequest, BatchRequest, ReconcileRequest])
def it_refuses_unknown_fields_in_every_form(kind):
    with pytest.raises(InvalidRequest, match="surprise"):
        parse_request(kind, {"surprise": 1})


def it_reads_a_label_map_or_a_pattern():
    assert parse_request(PrepareRequest, {"labels": '{"a": "b"}'}).layout()["labels"] == {"a": "b"}
    assert parse_request(PrepareRequest, {"labels": "^([a-z]+)"}).layout()["labels"] == "^([a-z]+)"


@pytest.mark.parametrize(
    ("plan", "job"),
    [(plan_manifest, "manifest"), (plan_preprocessing, "preprocess"), (flow.plan, "training")],
)
def it_tells_each_fault_of_a_steps_request_in_one_line(lake, plan, job):
    with pytest.raises(InvalidRequest) as caught:
        plan(lake, {"dataset": 7, "colour": "red"})
    told = caught.value.message
    assert told.startswith(f"The {job} request cannot be used. dataset: Input should be a valid string (received 7); ")
    assert "colour: Extra inputs are not permitted (received 'red')" in told
    assert ": Field required" in told
    assert "\n" not in told
    assert "pydantic" not in told


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, PhantomSource()),
        ({"source": "kaggle", "location": "ann/pets/versions/3"}, KaggleSource(handle="ann/pets/versions/3")),
        ({"source": "folder", "location": "s3://b/c"}, FolderSource(uri="s3://b/c")),
        ({"source": "folder", "location": "/a", "in_place": True}, FolderSource(uri="/a", in_place=True)),
        (
            {"source": "archive", "location": "/a.zip", "sha256": "ab" * 32},
            ArchiveSource(url="/a.zip", sha256="ab" * 32),
        ),
    ],
)
def it_describes_the_source_that_the_form_names(fields, config):
    assert parse_source(parse_request(PrepareRequest, fields).source_config()) == config


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        (PromoteRequest, {}, "model"),
        (PromoteRequest, {"model": "lamps", "gate_key": "../../champions"}, "is no verdict"),
        (RollbackRequest, {"model": "lamps", "reason": "  "}, "a rollback needs a reason"),
        (RollbackRequest, {"model": "lamps", "reason": "bad", "to": -1}, "to: "),
    ],
)
def it_checks_the_forms_that_move_a_champion(kind, fields, told):
    with pytest.raises(InvalidRequest, match=told):
        parse_request(kind, fields)
