"""What tasks tell OpenLineage that they read and write, and how data sets are named there."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.settings import get_settings
from darkroom.transform import ImageTransform

pytestmark = pytest.mark.unit

SMALL = {"width": 16, "height": 16}


@pytest.fixture
def rules():
    from darkroom_airflow import openlineage_rules

    return openlineage_rules


@pytest.mark.parametrize(
    ("name", "asked", "told", "read", "written"),
    [
        ("download", {"source": {"type": "phantom"}}, None, ["phantom://"], []),
        (
            "download",
            {"source": {"type": "kaggle", "handle": "a/b"}},
            {"index_path": "raw/x"},
            ["kaggle://a/b"],
            ["raw/x"],
        ),
        (
            "spark_apps.jobs.manifest",
            {"dataset": "lamps", "raw_index": "raw/i"},
            {"version": "v1"},
            ["raw/i"],
            ["tables/lamps/images/version=v1"],
        ),
        (
            "split",
            {"dataset": "lamps", "version": "v1", "options": {}},
            {"split_id": "s2", "parent": "s1"},
            ["tables/lamps/images/version=v1", "tables/lamps/splits/split_id=s1"],
            ["tables/lamps/splits/split_id=s2"],
        ),
        (
            "spark_apps.jobs.preprocess",
            {"dataset": "lamps", "version": "v1", "split_id": "s1", "transforms": [SMALL]},
            None,
            ["tables/lamps/images/version=v1", "tables/lamps/splits/split_id=s1"],
            [f"tables/lamps/examples/transform_hash={ImageTransform.model_validate(SMALL).hash}"],
        ),
        (
            "spark_apps.jobs.preprocess",
            {
                "dataset": "lamps",
                "version": "v1",
                "split_id": "s1",
                "transforms": [],
                "features": [{"transform": SMALL}],
            },
            {"feature_partitions": [{"transform_hash": "t1", "feature_hash": "f1", "added": 3}]},
            ["tables/lamps/images/version=v1", "tables/lamps/splits/split_id=s1"],
            ["tables/lamps/features/transform_hash=t1/feature_hash=f1"],
        ),
        (
            "training.jobs.train",
            {"dataset": "lamps", "split_id": "s1", "transform": SMALL, "feature_hashes": ["f1"]},
            {"package": "packages/lamps/a.zip"},
            [
                "tables/lamps/splits/split_id=s1",
                f"tables/lamps/examples/transform_hash={ImageTransform.model_validate(SMALL).hash}",
                f"tables/lamps/features/transform_hash={ImageTransform.model_validate(SMALL).hash}/feature_hash=f1",
            ],
            ["packages/lamps/a.zip"],
        ),
        (
            "spark_apps.jobs.predict",
            {"model": "lamps", "feed": "ward", "dt": "2026-03-01", "champion": {"package": "packages/lamps/a.zip"}},
            {"page": "reports/p.html"},
            ["inbox/ward/dt=2026-03-01", "packages/lamps/a.zip"],
            ["tables/predictions/lamps/dt=2026-03-01/feed=ward/origin=batch", "reports/p.html"],
        ),
        (
            "promote",
            {"verdict": {"page": "reports/gate.html", "challenger": {"package": "packages/lamps/a.zip"}}},
            {"model": "lamps", "entry": 3},
            ["reports/gate.html", "packages/lamps/a.zip"],
            ["champions/lamps/3.json"],
        ),
        ("find_feeds", {}, [{"feed": "ward", "dt": "2026-03-01"}], ["inbox/ward/dt=2026-03-01"], []),
        (
            "StartRun",
            {"conf": {"model": "lamps", "gate_key": "0" * 16}},
            None,
            [f"reports/training/lamps/receipts/{'0' * 16}.json"],
            [],
        ),
        ("eda", {"dataset": "../etc", "version": "v1"}, None, [], []),  # the task itself refuses the name
        ("gate", {}, None, [], []),
    ],
)
def it_names_what_a_task_reads_and_writes(rules, name, asked, told, read, written):
    assert rules.paths_of(name, asked, told) == (read, written)


def it_does_not_ask_airflow_for_what_mapped_tasks_returned(rules):
    class Lazy:
        def __len__(self):
            raise AssertionError("asked")

        __iter__ = __bool__ = __getitem__ = __len__

    for name in rules.RULES:
        rules.paths_of(name, dict.fromkeys(("results", "keras", "spark", "tasks"), Lazy()), None)


def it_never_fails_for_want_of_a_result(rules):
    for name in rules.RULES:
        rules.paths_of(name, {}, None)
        rules.paths_of(name, {}, {})
        rules.paths_of(name, {}, [])


@pytest.mark.parametrize(
    ("lake", "path", "place"),
    [
        ("/data/lake", "tables/a", ("file", "/data/lake/tables/a")),
        ("s3://bucket/prefix", "tables/a", ("s3://bucket", "prefix/tables/a")),
        ("/data/lake", "https://ann:secret@host:8443/set.zip?signature=x", ("https://host:8443", "/set.zip")),
        ("/data/lake", "file:///else/where", ("file", "/else/where")),
        ("/data/lake", "/else/where", ("file", "/else/where")),
        ("/data/lake", "phantom://", ("phantom://", "/")),
    ],
)
def it_names_data_sets_as_openlineage_does(monkeypatch, lake, path, place):
    from darkroom_airflow.lineage_events import address

    for name, value in {
        "LAKE": lake,
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "S3_ACCESS_KEY": "a",
        "S3_SECRET_KEY": "b",
    }.items():
        monkeypatch.setenv(f"DARKROOM_{name}", value)
    get_settings.cache_clear()
    assert address(path) == place
    get_settings.cache_clear()


def it_sees_arguments_by_place_and_by_name_and_believes_the_request_first(rules):
    from darkroom_airflow import flows

    task = flows.split("lamps", version="v1", options={}).operator
    assert task.lineage_request() == {"dataset": "lamps", "version": "v1", "options": {}}
    asked = {"config": {"dataset": "lamps", "split_id": "s1", "transform": SMALL}}
    read, _ = rules.paths_of("train", asked, {"config": "small_cnn", "package": "packages/lamps/a.zip"})
    assert read[0] == "tables/lamps/splits/split_id=s1"


def it_keeps_the_providers_own_field_out_of_our_forms():
    from darkroom_airflow.forms import fields_of

    found = fields_of({"model": "lamps", "reason": None, "openlineage": {"parentRunId": "x"}})
    assert found == {"model": "lamps"}  # the reason's default stands


def it_needs_no_provider_to_be_imported():
    text = (Path(__file__).parents[2] / "plugins" / "darkroom_airflow" / "lineage_events.py").read_text()
    assert "\nfrom airflow.providers.openlineage" not in text
    assert "\nfrom openlineage" not in text
