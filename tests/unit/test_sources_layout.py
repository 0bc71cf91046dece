"""What paths say about classes, splits and groups."""

from __future__ import annotations

import time
import zipfile

import pytest

from darkroom.errors import InvalidRequest
from darkroom.settings import get_settings
from darkroom.sources import LayoutOptions, describe, describe_all, parse_layout
from darkroom.sources.layout import common_top

pytestmark = pytest.mark.unit

PLAIN = LayoutOptions()
CHEST = LayoutOptions(groups="chest-xray")


def it_reads_split_class_and_group_of_the_chest_xray_layout() -> None:
    paths = [
        "chest_xray/train/PNEUMONIA/person63_bacteria_306.jpeg",
        "chest_xray/test/NORMAL/NORMAL2-IM-0035-0001.jpeg",
        "chest_xray/val/NORMAL/IM-0035-0001-0002.jpeg",
        "chest_xray/train/PNEUMONIA/person63_virus_7.jpeg",
        "chest_xray/train/NORMAL/holiday.jpeg",
    ]
    assert describe_all(paths, CHEST) == [
        ("PNEUMONIA", "train", "person63_bacteria"),
        ("NORMAL", "test", "NORMAL2-IM-0035"),
        ("NORMAL", "val", "IM-0035"),
        ("PNEUMONIA", "train", "person63_virus"),
        ("NORMAL", "train", None),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("cat/1.jpg", ("cat", None)),
        ("1.jpg", (None, None)),
        ("train/1.jpg", (None, "train")),
        ("Training/cat/1.jpg", ("cat", "train")),
        ("VALID/cat/1.jpg", ("cat", "val")),
        ("validation/cat/1.jpg", ("cat", "val")),
        ("testing/cat/1.jpg", ("cat", "test")),
        ("cat/test/1.jpg", ("cat", "test")),
        ("train/animals/cat/1.jpg", ("cat", "train")),
        ("train-extra/1.jpg", ("train-extra", None)),
        ("train/猫/1.jpg", ("猫", "train")),
        ("train/10 - Copy (2).jpg/a.jpg", ("10 - Copy (2).jpg", "train")),
    ],
)
def it_reads_one_path(path: str, expected: tuple[str | None, str | None]) -> None:
    assert describe(path, PLAIN)[:2] == expected


def it_takes_a_folder_around_the_splits_for_no_class() -> None:
    assert common_top(["data/xray/train/a/1.jpg", "data/xray/test/b/2.jpg", "data/xray/readme.txt"]) == ("data", "xray")
    assert common_top(["xray/train/a/1.jpg", "xray/train/b/2.jpg"]) == ("xray",)
    assert common_top(["train/a/1.jpg", "test/a/1.jpg"]) == ()
    assert common_top(["xray/a/1.jpg", "xray/b/2.jpg"]) == ()
    assert common_top([]) == ()
    assert [d[0] for d in describe_all(["xray/train/1.jpg", "xray/notes.txt", "xray/train/a/2.jpg"], PLAIN)] == [
        None,
        None,
        "a",
    ]
    assert [d[0] for d in describe_all(["pets/cat/1.jpg", "pets/dog/2.jpg"], PLAIN)] == ["cat", "dog"]
    assert [d[0] for d in describe_all(["photos/1.jpg", "photos/2.jpg"], PLAIN)] == ["photos", "photos"]


def it_maps_classes_by_a_map_and_keeps_the_others() -> None:
    options = LayoutOptions(labels={"kitty": "cat"})
    assert [d[0] for d in describe_all(["kitty/1", "cat/2", "dog/3", "4"], options)] == ["cat", "cat", "dog", None]


def it_maps_classes_by_the_first_group_of_a_pattern() -> None:
    options = LayoutOptions(labels=r"^([a-z]+(?:\.[a-z]+)*)_.*_T[0-9]")
    paths = [
        "ct/train/adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib/1.png",
        "ct/test/adenocarcinoma/1.png",
        "ct/train/large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa/1.png",
        "ct/valid/normal/1.png",
    ]
    expected = ["adenocarcinoma", "adenocarcinoma", "large.cell.carcinoma", "normal"]
    assert [d[0] for d in describe_all(paths, options)] == expected


@pytest.mark.parametrize("labels", [{"kat": "cat"}, "^(nothing)$"])
def it_refuses_a_label_map_that_maps_nothing_and_names_the_classes(labels: dict[str, str] | str) -> None:
    with pytest.raises(InvalidRequest, match=r"'cat', 'dog'"):
        describe_all(["train/cat/1.jpg", "dog/2.jpg"], LayoutOptions(labels=labels))
    with pytest.raises(InvalidRequest, match="The classes seen: none"):
        describe_all(["1.jpg"], LayoutOptions(labels=labels))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"labels": "("}, "'labels' cannot be used: '\\(' is not a regular expression"),
        ({"labels": "^cat"}, "no group"),
        ({"labels": {}}, "at least one entry"),
        ({"labels": {"a": ""}}, "empty names"),
        ({"labels": "(" * 600}, "too long"),
        ({"groups": "[a-"}, "'groups' cannot be used"),
        ({"group": "x"}, "'group' cannot be used"),
    ],
)
def it_explains_wrong_options(value: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_layout(value)


def it_groups_by_a_pattern_of_ones_own() -> None:
    assert describe("a/pat12-3.png", LayoutOptions(groups=r"pat(\d+)"))[2] == "12"
    assert describe("a/pat12-3.png", LayoutOptions(groups=r"pat\d+"))[2] == "pat12"
    assert describe("a/pat12-3.png", LayoutOptions(groups=r"dog"))[2] is None


def it_survives_a_dump_and_a_parse() -> None:
    options = LayoutOptions(labels={"a": "b"}, groups="chest-xray")
    assert parse_layout(options.model_dump()) == options


def it_bounds_the_time_of_a_long_name() -> None:
    started = time.monotonic()
    describe_all([f"{'a' * 100_000}/{'b' * 100_000}.jpg"] * 20, LayoutOptions(labels=r"^(.*.*)x?a", groups=r"(.*.*)c"))
    assert time.monotonic() - started < 5


def it_reads_the_real_ct_set() -> None:
    archive = get_settings().samples / "chest-ct-400.zip"
    if not archive.exists():
        pytest.skip("chest-ct-400.zip is not in DARKROOM_SAMPLES")
    with zipfile.ZipFile(archive) as opened:
        paths = [name for name in opened.namelist() if not name.endswith("/")]
    found = describe_all(paths, LayoutOptions(labels=r"^([a-z.]+)_"))
    assert len({label for label, _, _ in describe_all(paths, PLAIN)}) > 4
    assert {label for label, _, _ in found} == {
        "adenocarcinoma",
        "large.cell.carcinoma",
        "normal",
        "squamous.cell.carcinoma",
    }
    assert {split for _, split, _ in found} == {"train", "val", "test"}
