"""The kinds of models: each has what it needs to be found, described and trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from darkroom.errors import DataError, InvalidRequest
from darkroom.storage import Storage
from training.config import Options, known_configs, load_config, parse_config
from training.kinds import Job, fit, kind_of, known_kinds, small_cnn

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", known_kinds())
def it_has_what_a_kind_has(name: str) -> None:
    kind = kind_of(name)
    assert kind.RUNS_IN in ("python", "spark")
    assert callable(kind.fit)
    assert kind.Config.model_fields["kind"].default == name
    bare = {option for option, field in kind.Config.model_fields.items() if field.description is None}
    groups = {option for option in bare if isinstance(kind.Config.model_fields[option].default, Options)}
    assert bare - groups == {"kind"}


def it_has_a_yaml_for_every_kind() -> None:
    assert {load_config(name).kind for name in known_configs()} == set(known_kinds())


def it_refuses_a_kind_that_is_none() -> None:
    for name in ("torch", "__init__", "os", "", None, 3):
        with pytest.raises(InvalidRequest, match="Expected as kind one of: "):
            kind_of(name)


def it_says_that_the_memory_was_not_enough(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(job: Job) -> Any:
        return np.empty(2**50)

    monkeypatch.setattr(small_cnn, "fit", greedy)
    config = parse_config({"name": "mine", "kind": "small_cnn"})
    with pytest.raises(DataError, match=r"train mine on 3 images of 64x64x1: .*allocate.*smaller transform"):
        fit(Job(lake, "lamps", pa.table({"split": ["train"] * 3}), config, 0))


def it_leaves_other_errors_as_they_are(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(job: Job) -> Any:
        raise ZeroDivisionError("told")

    monkeypatch.setattr(small_cnn, "fit", wrong)
    config = parse_config({"name": "mine", "kind": "small_cnn"})
    with pytest.raises(ZeroDivisionError, match="told"):
        fit(Job(lake, "lamps", pa.table({"split": ["train"]}), config, 0))
