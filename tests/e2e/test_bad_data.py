"""Data that cannot be trained on, through prepare_dataset in a real Airflow: one sentence, no retry, nothing lost."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.contract import images_table, splits_table
from darkroom.storage import open_storage
from darkroom.tables import Table
from tests.e2e.conftest import finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def jpeg(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(target, "JPEG")
    return target.getvalue()


def bomb(side: int) -> bytes:
    """A PNG that declares side x side pixels and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def folder_of(root: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


def two_classes(each: int) -> dict[str, bytes]:
    return {f"{label}/{n}.jpg": jpeg(100 * ord(label) + n) for label in "ab" for n in range(each)}


CASES = {
    "one-class": ({f"a/{n}.jpg": jpeg(n) for n in range(40)}, {}, "split", "at least two classes"),
    "ten-images": (two_classes(5), {}, "split", "at least 9 of each class"),
    "only-broken": (
        {"a/cut.jpg": jpeg(1)[:900], "a/empty.jpg": b"", "b/text.jpg": b"no image", "b/huge.png": bomb(60_000)},
        {},
        "split",
        "too_many_pixels 1",
    ),
    "maps-nothing": (
        two_classes(20),
        {"labels": '{"cats": "cat", "dogs": "dog"}'},
        "manifest",
        "fits none of the classes",
    ),
}


@pytest.fixture(scope="module")
def runs(client, tmp_path_factory):
    """Every case's run, triggered at once: Airflow takes them one after the other."""
    client.wait_for_dags(["prepare_dataset"])
    root = tmp_path_factory.mktemp("images")
    triggered = {}
    for name, (files, options, _, _) in CASES.items():
        conf = {"dataset": name, "source": "folder", "location": folder_of(root / name, files), **options}
        triggered[name] = client.trigger("prepare_dataset", conf)
    return triggered


@pytest.mark.parametrize("name", CASES)
def it_ends_with_one_sentence_and_no_retry(client, runs, name):
    _, _, task, sentence = CASES[name]
    assert finished(client, "prepare_dataset", runs[name], seconds=400)["state"] == "failed"
    tasks = client.tasks("prepare_dataset", runs[name])
    failed = [one for one in tasks if one["state"] == "failed"]
    assert [(one["task_id"], one["try_number"]) for one in failed] == [(task, 1)]
    log = "\n".join(client.log_tail("prepare_dataset", runs[name], failed[0]))
    print(log)
    assert sentence in log
    assert not [one for one in tasks if one["task_id"] in {"preprocess", "publish"} and one["state"] == "success"]


@pytest.mark.usefixtures("runs")
def it_keeps_every_file_as_a_row_with_its_reason(running):
    lake = open_storage(running.local.lake)
    rows = Table(lake, images_table("only-broken")).read()
    reasons = Counter((problem or "").partition(":")[0] for problem in rows["problem"].to_pylist())
    assert reasons == {"truncated": 1, "empty": 1, "not_an_image": 1, "too_many_pixels": 1}
    assert Table(lake, splits_table("only-broken")).version() is None
