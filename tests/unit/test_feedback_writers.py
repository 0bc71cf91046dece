"""Feedback from several writers at once, killed ones and repeated ones: the same rows as from one that is not."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from darkroom import feedback
from darkroom.contract import ACCEPTED, PENDING, raw_blob
from darkroom.feedback import Choice, accept, add, check, stored
from darkroom.feedback.rows import (
    UNKNOWN_LABEL,
)
from darkroom.storage import Storage
from tests.suites.feedback import DATASET, NOW, classified, drop, lines, prepared, squares

pytestmark = pytest.mark.unit

EARLY, LATE = "2026-03-01T12:00Z", "2026-03-02T12:00Z"
ALL = Choice(every=True)


def it_takes_rows_of_writers_that_check_at_once(lake: Storage) -> None:
    ids = prepared(lake)
    barrier = threading.Barrier(8)

    def give(number: int) -> str:
        barrier.wait(60)
        batch = add(lake, DATASET, ids[number], "DARK", author=f"a{number}", at=NOW)
        check(lake, DATASET, now=NOW)
        if number % 2:
            accept(lake, DATASET, Choice(batch=batch), by="eve", now=NOW)
        return batch

    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(give, range(8)))
    rows = {row.batch: row for row in stored(lake, DATASET)}
    assert [rows[batch].image_id for batch in batches] == ids[:8]
    assert [rows[batch].state for batch in batches] == [PENDING, ACCEPTED] * 4


def it_gives_the_same_after_a_kill_at_any_moment(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(lake)
    ids = classified(lake, squares(2))
    drop(lake, "one.csv", lines(*((one, "DARK", "ada", EARLY) for one in ids)))
    check(lake, DATASET, now=NOW)
    before = stored(lake, DATASET)

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    for place in ("darkroom.feedback.quarantine._name_blobs", "darkroom.tables.table.Table.commit"):
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            with pytest.raises(Killed):
                accept(lake, DATASET, ALL, by="eve", now=NOW)
        assert stored(lake, DATASET) == before
        assert feedback.accepted_feedback(lake, DATASET).labels == {}
    accept(lake, DATASET, ALL, by="eve", now=NOW)
    rows = stored(lake, DATASET)
    assert {row.state for row in rows} == {ACCEPTED}
    for image_id in ids:
        assert hashlib.sha256(lake.read(raw_blob(DATASET, image_id))).hexdigest() == image_id


def it_gives_the_same_row_when_it_is_added_twice(lake: Storage) -> None:
    ids = prepared(lake)
    batches = {add(lake, DATASET, ids[0], '=cmd|"x", "y"', author="ada; bob", at=NOW) for _ in range(2)}
    check(lake, DATASET, now=NOW)
    (row,) = stored(lake, DATASET)
    assert {row.batch} == batches
    assert (row.label, row.author, row.at, row.kind) == ('=cmd|"x", "y"', "ada; bob", NOW, UNKNOWN_LABEL)
