"""Source configurations: what is accepted, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from darkroom.errors import InvalidRequest
from darkroom.sources import ArchiveSource, FolderSource, KaggleSource, PhantomSource, parse_source

pytestmark = pytest.mark.unit


def it_parses_each_kind() -> None:
    assert parse_source({"type": "phantom", "images": 40, "seed": 3}) == PhantomSource(images=40, seed=3)
    assert parse_source({"type": "folder", "uri": "/a"}) == FolderSource(uri="/a")
    for handle in ("ann/pets", "ann_1/chest-xray/versions/12"):
        assert parse_source({"type": "kaggle", "handle": handle}) == KaggleSource(handle=handle)
    assert parse_source({"type": "folder", "uri": "/a", "in_place": True}) == FolderSource(uri="/a", in_place=True)
    digest = "AB" * 32
    parsed = parse_source({"type": "archive", "url": "a.zip", "sha256": digest})
    assert parsed == ArchiveSource(url="a.zip", sha256=digest.lower())
    assert parse_source(parsed.model_dump()) == parsed
    assert parse_source({"type": "archive", "url": "a.zip", "sha256": None}) == ArchiveSource(url="a.zip")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"type": "kagle"}, "'kagle' is not known. Expected one of: phantom, folder, archive, kaggle"),
        ({}, "None is not known. Expected one of"),
        ({"type": ["phantom"]}, "is not known"),
        ("phantom", "must be a map"),
        (None, "must be a map"),
        ({"type": "folder"}, "folder source needs 'uri'"),
        ({"type": "folder", "uri": ""}, "'uri' cannot be ''"),
        ({"type": "phantom", "images": 0}, "'images' cannot be 0"),
        ({"type": "phantom", "images": "many"}, "'images' cannot be 'many'"),
        ({"type": "phantom", "size_range": [900, 400]}, "'size_range': \\[900, 400\\] is not a range"),
        ({"type": "phantom", "path": "x"}, "no option 'path'. Its options are: type, images, seed"),
        *(
            ({"type": "kaggle", "handle": wrong}, "'handle': .* is not a handle; expected owner/dataset or")
            for wrong in ("pets", "ann/pets/3", "ann/pets/versions/0", "ann/../pets", "https://www.kaggle.com/ann/pets")
        ),
        ({"type": "archive", "url": "a", "sha256": "12"}, "'12' is not a SHA-256"),
    ],
)
def it_says_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_source(value)


def it_gives_a_sentence_for_each_wrong_field() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_source({"type": "phantom", "images": -1, "seed": -1, "colour": 1})
    for field in ("'images'", "'seed'", "'colour'"):
        assert field in raised.value.message


def it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        PhantomSource().images = 3  # type: ignore[misc]
