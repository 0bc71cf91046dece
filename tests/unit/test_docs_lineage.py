"""The commands of docs/lineage.md print the chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from darkroom.storage import open_storage
from tests.suites.documents import bash_blocks, run_commands
from tests.suites.lineages import MODEL, whole_chain

pytestmark = pytest.mark.unit


def it_prints_the_chain_as_the_page_says(tmp_path: Path) -> None:
    whole_chain(open_storage(str(tmp_path / ".darkroom" / "lake")))
    (code,) = bash_blocks("lineage.md")
    said = run_commands(code.replace("phantom", MODEL), tmp_path)
    assert said.count(f"model version: {MODEL}@1") == 3
    assert f"prediction: predictions/{MODEL}/dt=2026-03-02/feed={MODEL}/ward/1.png" in said
    assert '"edges": [' in said
