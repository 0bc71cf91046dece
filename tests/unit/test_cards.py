"""Cards: everything in them is recorded somewhere else, and names that came with the data stay text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.cards import model_card, write_dataset_card
from darkroom.contract import IMAGES_SCHEMA, images_table, raw_receipt
from darkroom.errors import DataError
from darkroom.gate import GatePolicy
from darkroom.metrics import score
from darkroom.splitting_flow import split_dataset
from darkroom.storage import Storage, open_storage
from darkroom.tables import Table
from spark_apps.manifest import summarize
from tests.packages import package_info

pytestmark = pytest.mark.unit

CLASSES = ("<b>odd</b>|name", "plain")


@pytest.fixture
def lake(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "lake"))


def dataset(lake: Storage, images: int = 60, group: str | None = None) -> dict[str, str]:
    """A manifest of two classes, the first with an ugly name, one file twice, one broken; and its split."""
    rows = []
    for number in range(images):
        content = hashlib.sha256(str(number if number != 4 else 2).encode()).hexdigest()
        row = {"path": f"{number:03}.png", "content_id": content, "uri": f"raw/{number}", "size_bytes": 9}
        problem = "truncated: half of it" if number == 7 else None
        rows.append({**row, "label": CLASSES[number % 4 > 0], "problem": problem, "version": "v1"})
        rows[-1]["group"] = group if number in (9, 10) else None
        if number in (2, 4):
            rows[-1] |= {"label": CLASSES[1], "duplicate_cluster": content}
    table = pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA)
    near = {"images": 0} | dict.fromkeys(("clusters", "largest", "chained"), 1) | {"large": {}, "broken_up": {}}
    fingerprint = {"raw_index": "raw/lamps/index/i.parquet", "layout": {"groups": None, "labels": None}}
    metadata = {"summary": summarize(table, near), "fingerprint": fingerprint}
    Table(lake, images_table("lamps")).commit({"version": "v1"}, table, metadata)
    receipt = {"source": "A folder of lamps", "index_path": "raw/lamps/index/i.parquet"}
    lake.write(raw_receipt("lamps", "f" * 32), json.dumps(receipt).encode())
    split = split_dataset(lake, {"dataset": "lamps", "version": "v1", "options": {}})
    return {"dataset": "lamps", "version": "v1", "split_id": split["split_id"]}


def said(markdown: str, name: str) -> str:
    """The second cell of the row that begins with this name."""
    (line,) = [line for line in markdown.splitlines() if line.startswith(f"| {name} |")]
    return line.split("|")[2].strip()


def it_says_of_a_dataset_what_its_records_say(lake: Storage) -> None:
    wanted = dataset(lake)
    page = write_dataset_card(lake, **wanted)
    text = lake.read(page.replace("index.html", "card.md")).decode()
    record = json.loads(lake.read(page.replace("index.html", "card.json")))
    assert said(text, "source") == "A folder of lamps"
    assert said(text, "files that repeat another one, byte for byte") == "1"
    assert said(text, "truncated") == "1"
    assert said(text, "rebalanced by") == "class_weights"
    assert said(text, "left out") == "problem 1"
    assert record["split"]["counts"] == record["split"]["counts_after_rebalance"]
    assert "Not validated yet." in text
    assert record["limits"][0].startswith("No two images are known to belong together")
    assert any("the largest is 3.3 times the smallest" in one for one in record["limits"]), record["limits"]
    assert sum(one.startswith("The test split holds only") for one in record["limits"]) == 2


def it_does_not_call_images_strangers_that_share_a_group(lake: Storage) -> None:
    page = write_dataset_card(lake, **dataset(lake, group="one patient"))
    record = json.loads(lake.read(page.replace("index.html", "card.json")))
    assert not [one for one in record["limits"] if one.startswith("No two images")]


def it_keeps_names_of_the_data_from_becoming_markup(lake: Storage) -> None:
    page = write_dataset_card(lake, **dataset(lake))
    assert r"| \<b\>odd\</b\>\|name | 14 |" in lake.read(page.replace("index.html", "card.md")).decode()
    assert b"<b>odd" not in lake.read(page)


def it_is_the_same_every_time(lake: Storage) -> None:
    wanted = dataset(lake)
    page = write_dataset_card(lake, **wanted)
    before = [lake.read(page.replace("index.html", name)) for name in ("card.md", "card.json", "index.html")]
    write_dataset_card(lake, **wanted)
    assert [lake.read(page.replace("index.html", name)) for name in ("card.md", "card.json", "index.html")] == before


def it_leaves_licence_and_use_to_the_owner_and_keeps_what_they_write(lake: Storage) -> None:
    wanted = dataset(lake)
    text = lake.read(write_dataset_card(lake, **wanted).replace("index.html", "card.md")).decode()
    assert "The licence is unknown" in text
    assert "reports/datasets/lamps/owner.md" in text
    lake.write("reports/datasets/lamps/owner.md", b"For teaching only. CC BY 4.0.\n")
    text = lake.read(write_dataset_card(lake, **wanted).replace("index.html", "card.md")).decode()
    assert "For teaching only. CC BY 4.0." in text
    assert "unknown" not in text


def it_refuses_a_dataset_that_is_not_there(lake: Storage) -> None:
    with pytest.raises(DataError, match="no version v9 with a split s9"):
        write_dataset_card(lake, "lamps", "v9", "s9")


def verdict(**changes: Any) -> dict[str, Any]:
    """What the gate's task returns of a challenger."""
    truth, probabilities = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    test = score(truth, probabilities, ("BRIGHT", "DARK"), "DARK", 0.5) | {"balanced_accuracy_interval": [0.5, 1.0]}
    figures = {"calibration_error": 0.125, "difference": 0.02, "difference_interval": [-0.01, 0.05]}
    piece = {"slice": "mode", "value": "L", "images": 40, "difference": -0.05, "interval": [-0.1, 0.0]}
    challenger = {"config": "by_hand", "package": "packages/lamps/a.zip", "run_id": "r"}
    return {
        "model": "lamps",
        "version": "4",
        "challenger": challenger | {"options": {"epochs": 3, "optimizer": {"learning_rate": 0.01}}},
        "champion_package_id": "b" * 64,
        "evaluation": {"test": {"by_hand": test}},
        "verdict": "refuse",
        "reasons": ["Recall of DARK is 0.500, below the floor of 0.600."],
        "figures": figures | {"slices": [piece]},
        "approval": "auto",
        **changes,
    }


def card_of(lake: Storage, found: dict[str, Any]) -> str:
    info = package_info(metrics=found["evaluation"]["test"]["by_hand"])
    policy = GatePolicy().model_dump(mode="json")
    return model_card(lake, info, found, policy, "reports/training/lamps/owner.md").markdown()


def it_says_of_a_model_what_was_measured_and_what_the_gate_said(lake: Storage) -> None:
    text = card_of(lake, verdict())
    assert "# Model lamps, version 4" in text
    assert "| balanced accuracy | 0.7500 | 0.7500 | 0.500 to 1.000 |" in text
    assert "| DARK | 0.5000 | 1 | 2 |" in text
    assert "| mode | L | 40 | -0.0500 | -0.100 to 0.000 |" in text
    assert "Expected calibration error on test: 0.1250" in text
    assert "## The gate: refuse" in text
    assert "- Recall of DARK is 0.500, below the floor of 0.600." in text
    assert said(text, "difference to the champion") == "+0.020, interval -0.010 to 0.050"
    assert said(text, "positive class, threshold (chosen on val)") == "DARK, 0.5000"
    assert said(text, "optimizer.learning_rate") == "0.0100"
    assert said(text, "limit: margin") == "0.0100"
    assert said(text, "code that trained it, digest") == "0" * 16
    assert "The licence is unknown" in text


def it_says_so_where_nothing_was_compared_or_measured(lake: Storage) -> None:
    text = card_of(lake, verdict(figures={}, champion_package_id=None))
    assert "chance: there was no champion" in text
    assert said(text, "difference to the champion") == "not compared"
    assert "## Calibration\n\nNot measured." in text
