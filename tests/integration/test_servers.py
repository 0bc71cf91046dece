"""What happens where a server cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.binaries import VERSITYGW
from tests.integration.servers import go_binary

pytestmark = pytest.mark.unit


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("bare_machine")
def it_says_in_one_line_what_was_left_out_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="left out: it needs Go") as caught:
        go_binary("versitygw", VERSITYGW)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("bare_machine")
def it_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="left out: it needs Go"):
        go_binary("versitygw", VERSITYGW)
