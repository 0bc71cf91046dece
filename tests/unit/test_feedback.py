"""The quarantine of feedback: every row is there with its state, and only what was accepted joins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from darkroom import feedback
from darkroom.contract import ACCEPTED, PENDING, REJECTED, feedback_folder, feedback_table, raw_blob
from darkroom.errors import InvalidRequest
from darkroom.feedback import Choice, accept, check, reject, stored
from darkroom.feedback.rows import (
    BY_PERSON,
    CONTRADICTION,
    DUPLICATE,
    GONE,
    SUPERSEDED,
    TOO_MANY,
    UNKNOWN_IMAGE,
    UNKNOWN_LABEL,
    UNREADABLE,
)
from darkroom.lake_check import check_lake
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.tables import Table
from darkroom.vacuum import vacuum_lake
from tests.suites.feedback import DATASET, DAY, NOW, by_line, classified, drop, lines, prepared, squares, states

pytestmark = pytest.mark.unit

EARLY, LATE = "2026-03-01T12:00Z", "2026-03-02T12:00Z"
ALL = Choice(every=True)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("DARKROOM_FEEDBACK_PER_AUTHOR", "20")
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


def it_judges_every_row_and_says_what_it_did(lake: Storage, settings: pytest.MonkeyPatch) -> None:
    ids = prepared(lake)
    (new,) = classified(lake, squares(1))
    drop(
        lake,
        "a/one.csv",
        lines(
            (ids[0], "DARK", "ada", EARLY),  # 2: a correction
            (ids[1], "DARK", "ada", EARLY),  # 3: a confirmation
            (new, "BRIGHT", "ada", EARLY),  # 4: an image that came by an inbox
            ("0" * 64, "DARK", "ada", EARLY),  # 5
            (ids[2], "GREY", "ada", EARLY),  # 6
            (ids[3], "DARK", "ada", EARLY),  # 7
            (ids[3], "BRIGHT", "bob", LATE),  # 8
            (ids[4], "DARK", "ada", LATE),  # 9: newer than the next
            (ids[4], "BRIGHT", "ada", EARLY),  # 10
            (ids[5], "DARK", "ada", EARLY),  # 11
            (ids[5], "DARK", "ada", LATE),  # 12: the same again
            (ids[5], "DARK", "bob", LATE),  # 13: another author agrees
            ("short", "DARK", "bob", LATE),  # 14
        ),
    )
    done = check(lake, DATASET, now=NOW)
    expected: dict[int, tuple[str, str | None]] = dict.fromkeys((2, 3, 4, 9, 11, 13), (PENDING, None))
    expected |= {5: (REJECTED, UNKNOWN_IMAGE), 6: (REJECTED, UNKNOWN_LABEL), 7: (REJECTED, CONTRADICTION)}
    expected |= {8: (REJECTED, CONTRADICTION), 10: (REJECTED, SUPERSEDED), 12: (REJECTED, DUPLICATE)}
    expected |= {14: (REJECTED, UNREADABLE)}
    assert states(lake) == {("a/one.csv", line): state for line, state in expected.items()}
    assert (done["files"], done["new_files"], done["new_rows"], done["changed"]) == (1, 1, 13, True)
    assert (done["pending"], done["accepted"], done["rejected"]) == (6, 0, 7)
    assert done["reasons"][CONTRADICTION] == 2
    assert str(by_line(lake)["a/one.csv", 7].reason) == f"{CONTRADICTION}: bob says BRIGHT"


def it_changes_nothing_when_it_checks_again(lake: Storage) -> None:
    ids = prepared(lake)
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY), (ids[1], "GREY", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    before, version = stored(lake, DATASET), Table(lake, feedback_table(DATASET)).version()
    drop(lake, "copy.csv", lake.read(f"{feedback_folder(DATASET)}/one.csv"))
    drop(lake, "under-way.csv.part", "image_id")
    drop(lake, "_SUCCESS", "")
    done = check(lake, DATASET, now=NOW.replace(year=2027))
    assert (done["files"], done["new_files"], done["changed"]) == (2, 0, False)
    assert stored(lake, DATASET) == before
    assert Table(lake, feedback_table(DATASET)).version() == version


def it_keeps_rows_whose_file_was_replaced_or_removed(lake: Storage) -> None:
    ids = prepared(lake)
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY), (ids[2], "DARK", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    lake.delete(f"{feedback_folder(DATASET)}/one.csv")
    check(lake, DATASET, now=NOW)
    found = sorted((row.line, row.state, row.kind) for row in stored(lake, DATASET))
    assert found[2] == (3, PENDING, None)
    assert {row[1:] for row in found[:2]} == {(PENDING, None), (REJECTED, DUPLICATE)}


def it_lets_no_flood_contradict_others(lake: Storage, settings: pytest.MonkeyPatch) -> None:
    ids = prepared(lake)
    drop(lake, "flood.csv", lines(*((one, "DARK", "mallory", LATE) for one in ids[:21])))
    drop(lake, "good.csv", lines((ids[0], "BRIGHT", "ada", EARLY)))
    done = check(lake, DATASET, now=NOW)
    assert done["reasons"] == {TOO_MANY: 21}
    assert states(lake)["good.csv", 2] == (PENDING, None)
    settings.setenv("DARKROOM_FEEDBACK_PER_AUTHOR", "21")
    get_settings.cache_clear()
    assert check(lake, DATASET, now=NOW)["reasons"] == {CONTRADICTION: 2}


def it_accepts_a_hundred_thousand_rows_of_which_few_are_known(lake: Storage) -> None:
    ids = prepared(lake)
    unknown = [(f"{number:064x}", "DARK", f"a{number % 200}", EARLY) for number in range(100_000 - len(ids))]
    drop(lake, "many.csv", lines(*unknown, *((one, "DARK", "ada", EARLY) for one in ids)))
    done = check(lake, DATASET, now=NOW)
    assert (done["new_rows"], done["pending"], done["reasons"]) == (100_000, 140, {UNKNOWN_IMAGE: 99_860})


def it_refuses_a_dataset_that_was_never_prepared(lake: Storage) -> None:
    drop(lake, "one.csv", lines(("0" * 64, "DARK", "ada", EARLY)))
    with pytest.raises(InvalidRequest, match="There is no dataset 'lamps'"):
        check(lake, DATASET, now=NOW)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        check(lake, "../lamps", now=NOW)


def it_lets_feedback_wait_until_the_dataset_is_prepared(lake: Storage) -> None:
    drop(lake, "one.csv", lines(("0" * 64, "DARK", "ada", EARLY)))
    assert feedback.check_if_prepared(lake, DATASET, now=NOW) is None
    prepared(lake)
    done = feedback.check_if_prepared(lake, DATASET, now=NOW)
    assert done is not None
    assert feedback.sentence(done) == (
        "lamps: 1 new of 1 files, 1 rows read; 0 pending, 0 accepted, 1 rejected (unknown image 1)."
    )


def it_copies_accepted_images_into_raw_and_names_them(lake: Storage) -> None:
    prepared(lake)
    images = squares(3)
    ids = classified(lake, images)
    drop(lake, "one.csv", lines(*((one, "DARK", "ada", EARLY) for one in ids)))
    check(lake, DATASET, now=NOW)
    rows = by_line(lake)
    reject(lake, DATASET, Choice((rows["one.csv", 4].row_id,)), "not an X-ray", by="eve", now=NOW)
    done = accept(lake, DATASET, ALL, by="eve", now=NOW)
    assert (done["accepted"], done["pending"], done["rejected"]) == (2, 0, 1)
    for (_, data, _), image_id in zip(images[:2], ids, strict=False):
        assert lake.read(raw_blob(DATASET, image_id)) == data
    assert lake.stat(raw_blob(DATASET, ids[2])) is None
    row = by_line(lake)["one.csv", 2]
    assert (row.path, row.size_bytes) == (f".feedback/{DATASET}/{DAY}/ward/p0_0.png", len(images[0][1]))
    assert (row.decided_by, row.decided_at, row.state) == ("eve", NOW, ACCEPTED)
    left = {(finding.kind, finding.path) for finding in check_lake(lake, lambda *_: None).findings}
    assert not any(path.endswith(image_id) for _, path in left for image_id in ids)
    assert not accept(lake, DATASET, Choice((row.row_id,)), by="bob", now=NOW)["changed"]


def it_keeps_accepted_images_from_the_vacuum_until_they_are_rejected(lake: Storage) -> None:
    prepared(lake)
    (image_id,) = classified(lake, squares(1))
    drop(lake, "one.csv", lines((image_id, "DARK", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, ALL, by="eve", now=NOW)
    far = datetime.now(UTC) + timedelta(days=1)
    list(vacuum_lake(lake, far, dry_run=False))
    assert lake.stat(raw_blob(DATASET, image_id)) is not None
    assert not any(image_id in finding.path for finding in check_lake(lake, lambda *_: None).findings)
    reject(lake, DATASET, Choice((by_line(lake)["one.csv", 2].row_id,)), "not ours", by="eve", now=NOW)
    list(vacuum_lake(lake, far, dry_run=False))
    assert lake.stat(raw_blob(DATASET, image_id)) is None
    assert [blob.path for blob in lake.list(f"raw/{DATASET}/index")] == []
    assert len(stored(lake, DATASET)) == 1


def it_says_when_an_image_has_left_the_inbox(lake: Storage) -> None:
    prepared(lake)
    images = squares(2)
    ids = classified(lake, images)
    drop(lake, "one.csv", lines(*((one, "DARK", "ada", EARLY) for one in ids)))
    check(lake, DATASET, now=NOW)
    lake.write(f"inbox/{DATASET}/dt={DAY}/{images[0][0]}", b"another image now")
    done = accept(lake, DATASET, ALL, by="eve", now=NOW)
    assert (done["accepted"], done["reasons"]) == (1, {GONE: 1})
    lake.delete(f"inbox/{DATASET}/dt={DAY}/{images[0][0]}")
    lake.delete(f"inbox/{DATASET}/dt={DAY}/{images[1][0]}")
    done = check(lake, DATASET, now=NOW)
    assert (done["accepted"], done["reasons"]) == (1, {GONE: 1})
    first = by_line(lake)["one.csv", 2].row_id
    with pytest.raises(InvalidRequest, match="holds it any more"):
        accept(lake, DATASET, Choice((first,)), by="eve", now=NOW)
    lake.write(f"inbox/{DATASET}/dt={DAY}/{images[0][0]}", images[0][1])
    assert accept(lake, DATASET, Choice((first,)), by="eve", now=NOW)["accepted"] == 2


def it_takes_a_new_class_only_where_it_is_named(lake: Storage) -> None:
    ids = prepared(lake)
    drop(lake, "one.csv", lines((ids[0], "GREY", "ada", EARLY), (ids[1], "GREY", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    row = by_line(lake)["one.csv", 2].row_id
    with pytest.raises(InvalidRequest, match="Nothing was accepted"):
        accept(lake, DATASET, Choice((row,)), by="eve", now=NOW)
    with pytest.raises(InvalidRequest, match="cannot be a class"):
        accept(lake, DATASET, Choice((row,), new_classes=("../x",)), by="eve", now=NOW)
    accept(lake, DATASET, Choice((row,), new_classes=("GREY",)), by="eve", now=NOW)
    check(lake, DATASET, now=NOW)
    assert states(lake) == {("one.csv", 2): (ACCEPTED, None), ("one.csv", 3): (PENDING, None)}


def it_lets_a_person_settle_a_contradiction(lake: Storage) -> None:
    ids = prepared(lake)
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY), (ids[0], "BRIGHT", "bob", EARLY)))
    check(lake, DATASET, now=NOW)
    assert accept(lake, DATASET, ALL, by="eve", now=NOW)["accepted"] == 0
    ada, bob = (by_line(lake)["one.csv", line].row_id for line in (2, 3))
    accept(lake, DATASET, Choice((ada,)), by="eve", now=NOW)
    assert states(lake) == {("one.csv", 2): (ACCEPTED, None), ("one.csv", 3): (REJECTED, CONTRADICTION)}
    accept(lake, DATASET, Choice((bob,)), by="eve", now=NOW)
    assert states(lake) == {("one.csv", 2): (REJECTED, SUPERSEDED), ("one.csv", 3): (ACCEPTED, None)}
    reject(lake, DATASET, Choice((bob,)), "wrong after all", by="eve", now=NOW)
    assert states(lake)["one.csv", 3] == (REJECTED, BY_PERSON)


def it_lets_the_same_author_change_an_accepted_label(lake: Storage) -> None:
    ids = prepared(lake)
    (new,) = classified(lake, squares(1))
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY), (new, "DARK", "ada", EARLY)))
    check(lake, DATASET, now=NOW)
    accept(lake, DATASET, ALL, by="eve", now=NOW)
    lake.delete(f"inbox/{DATASET}/dt={DAY}/ward/p0_0.png")
    drop(lake, "two.csv", lines((ids[0], "BRIGHT", "ada", LATE), (new, "BRIGHT", "ada", LATE)))
    assert check(lake, DATASET, now=NOW)["pending"] == 2
    accept(lake, DATASET, ALL, by="eve", now=NOW)
    overlay = feedback.accepted_feedback(lake, DATASET)
    assert overlay.labels == {ids[0]: "BRIGHT", new: "BRIGHT"}
    assert overlay.added.keys() == {new}


def it_never_accepts_what_cannot_be_read(lake: Storage) -> None:
    prepared(lake)
    drop(lake, "one.csv", "nothing")
    check(lake, DATASET, now=NOW)
    row = by_line(lake)["one.csv", 0].row_id
    reject(lake, DATASET, Choice((row,)), "noise", by="eve", now=NOW)
    assert states(lake) == {("one.csv", 0): (REJECTED, UNREADABLE)}
    for choice, told in [
        (Choice((row,)), "cannot be accepted"),
        (Choice(("no such",)), "There is no feedback no such"),
        (Choice(batch="ffff"), "No feedback came in a file"),
        (Choice(), "No feedback was named"),
    ]:
        with pytest.raises(InvalidRequest, match=told):
            accept(lake, DATASET, choice, by="eve", now=NOW)


def it_accepts_by_itself_only_where_the_setting_says_so(lake: Storage, settings: pytest.MonkeyPatch) -> None:
    ids = prepared(lake)
    drop(lake, "one.csv", lines((ids[0], "DARK", "ada", EARLY), (ids[1], "GREY", "ada", EARLY)))
    assert check(lake, DATASET, now=NOW)["accepted"] == 0
    settings.setenv("DARKROOM_FEEDBACK_AUTO_ACCEPT", "true")
    get_settings.cache_clear()
    assert check(lake, DATASET, now=NOW)["accepted"] == 1
    row = by_line(lake)["one.csv", 2]
    assert (row.state, row.decided_by) == (ACCEPTED, "auto")
    assert states(lake)["one.csv", 3] == (REJECTED, UNKNOWN_LABEL)
