"""Splitting as a step: same inputs, same split; the newest split is the parent."""

from __future__ import annotations

from typing import Any

import pytest

from darkroom import codedigest
from darkroom.contract import images_table, splits_table
from darkroom.errors import DataError, InvalidRequest
from darkroom.splitting_flow import newest_split, newest_version, split_dataset
from darkroom.storage import Storage
from darkroom.tables import Table
from tests.suites.manifests import manifest, random_manifest

pytestmark = pytest.mark.unit


@pytest.fixture
def stocked(lake: Storage) -> Storage:
    images = Table(lake, images_table("d"))
    images.commit({"version": "v1"}, random_manifest(500, 1), {})
    images.commit({"version": "v2"}, random_manifest(600, 1, version="v2"), {})
    return lake


def ask(lake: Storage, version: str = "v1", parent: str | None = "newest", **options: Any) -> dict[str, Any]:
    return split_dataset(lake, {"dataset": "d", "version": version, "options": options, "parent": parent})


def it_commits_a_split_and_says_nothing_changed_the_second_time(stocked: Storage) -> None:
    first = ask(stocked)
    splits = Table(stocked, splits_table("d"))
    version = splits.version()
    again = ask(stocked)
    assert (first["changed"], again["changed"]) == (True, False)
    assert {**again, "changed": True} == first
    assert splits.version() == version
    rows = splits.read({"split_id": first["split_id"]})
    assert rows.num_rows == first["summary"]["contents"]
    assert splits.last_commit({"split_id": first["split_id"]})["version"] == "v1"


def it_says_that_a_split_was_made_by_other_code(
    stocked: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = ask(stocked)
    ask(stocked)
    assert "written by code" not in caplog.text
    monkeypatch.setattr(codedigest, "code_digest", lambda: "f" * 16)
    assert ask(stocked) == {**first, "changed": False}
    assert f"Split {first['split_id']} of d: the rows that were there were written by code" in caplog.text
    assert f"now it is {'f' * 16}" in caplog.text


def it_takes_the_newest_split_as_parent_and_keeps_to_it_on_a_rerun(stocked: Storage) -> None:
    first = ask(stocked)
    second = ask(stocked, "v2")
    assert second["parent"] == first["split_id"]
    assert newest_split(Table(stocked, splits_table("d"))) == second["split_id"]
    assert ask(stocked, "v2") == {**second, "changed": False}


def it_makes_a_split_the_newest_again_where_the_data_went_back(stocked: Storage) -> None:
    first, second = ask(stocked), ask(stocked, "v2")
    splits = Table(stocked, splits_table("d"))
    rows = splits.read({"split_id": first["split_id"]})
    assert (newest_split(splits), newest_version(stocked, "d")) == (second["split_id"], "v2")
    back = ask(stocked)
    assert back == first
    assert (newest_split(splits), newest_version(stocked, "d")) == (first["split_id"], "v1")
    assert splits.read({"split_id": first["split_id"]}).equals(rows)
    assert ask(stocked)["changed"] is False
    assert ask(stocked, "v2")["split_id"] == second["split_id"]


def it_inherits_where_only_the_rebalancing_differs(stocked: Storage) -> None:
    first = ask(stocked, rebalance="none")
    assert ask(stocked, rebalance="oversample")["parent"] == first["split_id"]


@pytest.mark.parametrize("changed", [{"seed": 1}, {"keep_given_test": True}, {"counts": {"val": 50, "test": 50}}])
def it_draws_anew_where_the_drawing_differs(stocked: Storage, changed: dict[str, Any]) -> None:
    ask(stocked)
    assert ask(stocked, **changed)["parent"] is None


def it_takes_a_named_parent_or_none(stocked: Storage) -> None:
    first = ask(stocked)
    assert ask(stocked, "v2", parent=None)["parent"] is None
    assert ask(stocked, "v2", parent=first["split_id"], seed=5)["parent"] == first["split_id"]
    assert ask(stocked, "v2", parent=first["split_id"], seed=5)["changed"] is False


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"dataset": "d", "version": "v9"}, "has no version 'v9'"),
        ({"dataset": "d", "version": "v1", "parent": "ffff"}, "has no split 'ffff'"),
        ({"dataset": "D!", "version": "v1"}, "The name 'D!' cannot be used"),
        ({"dataset": "d", "version": "v1", "options": {"seed": -1}}, "seed"),
        ({"dataset": "d"}, "version: Field required"),
    ],
)
def it_refuses_a_wrong_request(stocked: Storage, request_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        split_dataset(stocked, request_)


def it_commits_nothing_when_the_images_cannot_be_split(lake: Storage) -> None:
    rows = [{"path": f"{number}.jpg"} for number in range(400)]
    Table(lake, images_table("d")).commit({"version": "v1"}, manifest(rows), {})
    with pytest.raises(DataError, match="400 images and no labels"):
        ask(lake)
    assert Table(lake, splits_table("d")).version() is None


def it_takes_the_last_version_for_the_newest_before_the_first_split(stocked: Storage) -> None:
    assert newest_version(stocked, "d") == "v2"
    assert newest_version(stocked, "other") is None


def it_has_no_newest_split_before_the_first(lake: Storage) -> None:
    assert newest_split(Table(lake, splits_table("d"))) is None
