"""Where images, predictions and models come from, and what became of them: from the lake alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from darkroom import champions
from darkroom.cli import main
from darkroom.contract import features_table, images_table, predictions_table, training_reports
from darkroom.errors import InvalidRequest, MachineryError
from darkroom.lineage import Graph, lineage
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from darkroom.tables.search import find_rows
from darkroom.writer import RUN_VARIABLE
from tests.packages import TRANSFORM
from tests.suites.lineages import AIRFLOW, MODEL, NOON, classify, trained_rows, whole_chain

pytestmark = pytest.mark.unit

DAY = f"predictions/{MODEL}/dt=2026-03-02/feed={MODEL}"


@pytest.fixture
def lake(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "lake"))


@pytest.fixture
def chain(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv(RUN_VARIABLE, AIRFLOW.format(dag="any", run="1"))
    return whole_chain(lake)


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.in_order()]


def arrows(graph: Graph) -> set[tuple[str, str]]:
    return {(graph.nodes[source].kind, graph.nodes[target].kind) for source, target in graph.edges}


def it_follows_a_training_image_to_every_prediction_of_the_models_that_saw_it(
    lake: Storage, chain: dict[str, Any]
) -> None:
    row = trained_rows(lake)[1]
    found = lineage(lake, row["content_id"])
    assert kinds(found) == [
        *("image", "manifest row", "dataset version", "split", "examples", "run", "run"),
        *("model version", "model version", "gate verdict", "gate verdict", "champion", "predictions", "predictions"),
    ]
    assert arrows(found) == {
        ("image", "manifest row"),
        ("manifest row", "dataset version"),
        ("dataset version", "split"),
        ("split", "examples"),
        ("examples", "run"),
        ("run", "model version"),
        ("model version", "gate verdict"),
        ("gate verdict", "champion"),
        ("champion", "predictions"),
    }
    (split,) = [node for node in found.nodes.values() if node.kind == "split"]
    assert split.facts["this image"] == row["split"]
    assert split.uri == lake.uri(f"tables/{MODEL}/splits/split_id=s1")
    named = {node.name for node in found.nodes.values()}
    assert {f"{MODEL}@1", f"{MODEL}@2", f"{MODEL} v1 {row['path']}", DAY} <= named


def it_names_the_features_that_a_model_was_trained_on(lake: Storage, chain: dict[str, Any]) -> None:
    receipt = f"{training_reports(MODEL, 'receipts')}/k2.json"
    lake.write(receipt, json.dumps(json.loads(lake.read(receipt)) | {"feature_hashes": ["f1", "f2"]}).encode())
    spec = features_table(MODEL)
    rows = {"content_id": [chain["content_ids"][0]], "values": [b"1234"], "reason": [None]}
    partition = {"transform_hash": TRANSFORM.hash, "feature_hash": "f1"}
    whole = pa.table(rows | {name: [value] for name, value in partition.items()}).select(spec.schema.names)
    noted = {"fingerprint": {"feature": {"kind": "hog", "cell": 8}}}
    Table(lake, spec).commit(partition, whole.cast(spec.schema), noted)
    found = lineage(lake, f"{MODEL}@2")
    first, second = [node for node in found.in_order() if node.kind == "features"]
    assert first.facts == {"kind": "hog", "cell": 8}
    assert first.links["Airflow run"] == AIRFLOW.format(dag="any", run="1")
    assert first.uri == lake.uri(f"tables/{MODEL}/features/transform_hash={TRANSFORM.hash}/feature_hash=f1")
    assert (second.name, second.facts) == (f"{MODEL} {TRANSFORM.hash} f2", {})  # its rows are gone
    assert {("examples", "features"), ("features", "run"), ("examples", "run")} <= arrows(found)
    assert "features" not in kinds(lineage(lake, f"{MODEL}@1"))


def it_follows_a_prediction_back_to_the_data(lake: Storage, chain: dict[str, Any]) -> None:
    found = lineage(lake, f"{DAY}/ward/1.png")
    assert kinds(found) == [
        *("image", "dataset version", "split", "examples", "run", "model version", "gate verdict", "champion"),
        *("predictions", "prediction"),
    ]
    assert {("predictions", "prediction"), ("image", "prediction"), ("champion", "predictions")} <= arrows(found)
    said = found.nodes[f"prediction {DAY}/ward/1.png"]
    assert (said.facts["label"], said.facts["score"], said.facts["model_version"]) == ("DARK", 0.75, "1")
    assert found.nodes[f"image {'ab' * 31}01"].uri == lake.uri(f"inbox/{MODEL}/dt=2026-03-02/ward/1.png")


def it_links_to_pages_where_the_lake_names_them(lake: Storage, chain: dict[str, Any]) -> None:
    found = lineage(lake, f"{MODEL}@1")
    by_kind = {node.kind: node for node in found.nodes.values()}
    assert by_kind["run"].links == {
        "Airflow run": AIRFLOW.format(dag="train_model", run=1),
        "MLflow run": "http://mlflow/1",
    }
    assert by_kind["model version"].links == {"MLflow version": "http://mlflow/v1"}
    assert by_kind["gate verdict"].links["gate"].endswith(f"/darkroom/reports/training/{MODEL}/parent-1/gate.html")
    assert by_kind["gate verdict"].facts["reasons"] == ["because of 1"]
    for kind in ("dataset version", "split", "examples", "predictions"):  # who wrote it stands in the commit
        assert by_kind[kind].links["Airflow run"] == AIRFLOW.format(dag="any", run="1"), kind
    assert by_kind["champion"].facts["approved by"] == "ada"


@pytest.mark.parametrize(
    "asked", ["{package}", "{package:.10}", "packages/lamps/{package}.zip", "champions/lamps/1.json"]
)
def it_knows_a_model_by_each_of_its_names(lake: Storage, chain: dict[str, Any], asked: str) -> None:
    found = lineage(lake, asked.format(package=chain["packages"][0]))
    assert found.as_dict()["nodes"] == lineage(lake, "lamps@1").as_dict()["nodes"]


def it_takes_addresses_as_the_lake_writes_them(lake: Storage, chain: dict[str, Any]) -> None:
    wanted = lineage(lake, DAY).as_dict()["nodes"]
    for asked in (lake.uri(f"tables/{DAY}"), f"tables/{DAY}/", f"{DAY}/origin=batch"):
        assert lineage(lake, asked).as_dict()["nodes"] == wanted


def it_tells_of_an_image_that_was_trained_on_and_classified(lake: Storage, chain: dict[str, Any]) -> None:
    found = lineage(lake, chain["content_ids"][0][:8])
    assert {"manifest row", "prediction"} <= set(kinds(found))
    assert [node.name for node in found.in_order() if node.kind == "image"] == [chain["content_ids"][0]]


def it_says_of_a_champion_that_it_was_withdrawn(lake: Storage, chain: dict[str, Any]) -> None:
    champions.withdraw(lake, MODEL, 1, "trained on leaked images", now=NOON, by="ada")
    text = lineage(lake, f"{MODEL}@1").as_text()
    assert "withdrawn: 2026-03-01: trained on leaked images" in text
    assert lineage(lake, "champions/lamps/2.json").as_text() == text


def it_goes_on_without_a_package_that_is_gone(lake: Storage, chain: dict[str, Any]) -> None:
    lake.delete(f"packages/{MODEL}/{chain['packages'][0]}.zip")
    found = lineage(lake, DAY)
    assert found.nodes[f"model version {MODEL}@1"].facts["gone"]
    assert "split" in kinds(found)


def it_names_only_the_models_that_wrote_what_stands(lake: Storage, chain: dict[str, Any]) -> None:
    classify(lake, "2026-03-02", chain["packages"][1], ["cd" * 32], "run-2")
    assert [n.name for n in lineage(lake, DAY).in_order() if n.kind == "model version"] == [f"{MODEL}@2"]
    days = [n.name for n in lineage(lake, f"{MODEL}@1").in_order() if n.kind == "predictions"]
    assert days == [DAY.replace("03-02", "03-03")]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("abababab", r"start of image \w+00, image \w+01, image \w+02\. Give more digits"),
        ("0123456789", "Nothing in .* begins with 0123456789. Looked at the images of lamps, and at the predictions"),
        ("abc", "cannot be looked up. Expected an image_id"),
        ("../../etc/passwd", "cannot be looked up"),
        ("lamps@7", "no version '7'. Looked at the champion history .* they know 1, 2"),
        ("Lamps@1", "cannot be used"),
        ("champions/lamps/9.json", "no champion entry 9"),
        (f"packages/lamps/{'a' * 64}.zip", "There is no package"),
        ("predictions/lamps/dt=2026-09-09/feed=lamps", "There are no predictions .* Looked at the commits"),
        ("predictions/none/dt=2026-03-02/feed=lamps", "There are no predictions"),
        (f"{DAY}/ward/9.png", "has no row 'ward/9.png'. Looked at the column path"),
        ("predictions/lamps/2026-03-02", "names no predictions"),
        ("predictions/../dt=1/feed=x", "cannot be used"),
    ],
)
def it_says_what_it_looked_at_where_nothing_is_found(
    lake: Storage, chain: dict[str, Any], asked: str, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        lineage(lake, asked)


def it_finds_nothing_in_an_empty_lake(lake: Storage) -> None:
    with pytest.raises(InvalidRequest, match="images of no dataset, and at the predictions and packages of no model"):
        lineage(lake, "0" * 64)


def it_says_which_record_is_damaged(lake: Storage, chain: dict[str, Any]) -> None:
    lake.write(f"reports/training/{MODEL}/parent-1/gate.json", b"{")
    with pytest.raises(MachineryError, match=r"gate\.json cannot be read"):
        lineage(lake, f"{MODEL}@1")


def it_prints_text_and_json(lake: Storage, chain: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", f"{MODEL}@1", "--lake", lake.root]) == 0
    text = capsys.readouterr().out
    assert "] model version: lamps@1   <- [4]" in text
    assert main(["lineage", f"{MODEL}@1", "--json", "--lake", lake.root]) == 0
    found = json.loads(capsys.readouterr().out)
    keys = {node["key"] for node in found["nodes"]}
    assert all({source, target} <= keys for source, target in found["edges"])
    assert main(["lineage", "lamps@9", "--lake", lake.root]) == 2
    assert capsys.readouterr().err.startswith("InvalidRequest: lamps has no version '9'")


def it_shows_twenty_of_a_kind_and_counts_the_others(lake: Storage, chain: dict[str, Any]) -> None:
    for day in range(4, 29):
        classify(lake, f"2026-03-{day:02d}", chain["packages"][0], [], "run-1")
    text = lineage(lake, f"{MODEL}@1").as_text()
    assert text.count("] predictions: ") == 20
    assert "... and 7 more; --json has them all" in text


def it_reads_only_the_files_of_the_partition_that_is_named(lake: Storage, chain: dict[str, Any]) -> None:
    table = Table(lake, predictions_table(MODEL))
    (other,) = table.named_files({"dt": "2026-03-03"})
    lake.write(f"{table.spec.path}/{other.path}", b"no Parquet")
    lineage(lake, f"{DAY}/ward/1.png")
    rows = find_rows(Table(lake, images_table(MODEL)), "content_id", chain["content_ids"][0][:8], ["path"])
    assert [sorted(row) for row in rows] == [["path", "version"]]
