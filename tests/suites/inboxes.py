"""Inboxes that other systems fill: one suite for every kind of storage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from darkroom.contract import predictions_table
from darkroom.errors import StorageUnavailable
from darkroom.inbox import arrived
from darkroom.inference import wait_for_inboxes
from darkroom.settings import get_settings
from darkroom.storage import Storage
from darkroom.tables import Table
from spark_apps.arrivals import Prediction, commit_predictions, plan_prediction
from spark_apps.predict import predict_inbox
from tests.packages import champion_of, png

DAY = "2026-01-02"
FOLDER = f"inbox/clinic/dt={DAY}"
UNDER_WAY = [
    "1.png.part", "1.png.partial", "1.png.filepart", "1.png.PART", "1.png.tmp", "1.png_tmp", "_tmp1.png", "_1.png",
    ".1.png.Xy12Zw", "1.png._COPYING_", "1.png.crdownload", "_temporary/0/1.png", ".staging/1.png", "batch.part/1.png",
]  # fmt: skip


def incomplete(lake: Storage) -> bool:
    """Waits in real time; whether the inbox was still incomplete at the end."""
    requests = [{"feed": "clinic", "dt": DAY}]
    (done,) = wait_for_inboxes(lake, requests, clock=lambda: datetime.now(UTC), sleep=time.sleep)
    return bool(done["incomplete"])


def meanwhile(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def seen(lake: Storage) -> list[str]:
    return [blob.path.removeprefix(f"{FOLDER}/") for blob in arrived(lake, "clinic", DAY)]


def classified(spark: Any, plan: Prediction) -> Callable[[], None]:
    """Classifies what the plan lists; what commits it."""
    files = predict_inbox(spark, plan, 2).pop("files")

    def commit() -> None:
        commit_predictions(plan, files, {"images": len(plan.blobs)})

    return commit


class InboxSuite:
    """``lake`` is an empty lake."""

    @pytest.fixture(autouse=True)
    def waiting(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("DARKROOM_INBOX_WAIT_SECONDS", "30")
        monkeypatch.setenv("DARKROOM_INBOX_SETTLE_SECONDS", "2")
        get_settings.cache_clear()
        yield
        get_settings.cache_clear()

    def request(self, lake: Storage) -> dict[str, Any]:
        return {
            "feed": "clinic", "model": "lamps", "dt": DAY, "champion": champion_of(lake),
            "predicted_at": "2026-01-03T01:00:00+00:00",
        }  # fmt: skip

    def rows(self, lake: Storage) -> dict[str, dict[str, Any]]:
        return {row["path"]: row for row in Table(lake, predictions_table("lamps")).read().to_pylist()}

    def it_waits_until_all_files_of_a_slow_writer_are_there(self, lake: Storage) -> None:
        def write() -> None:
            for number in range(6):
                lake.write(f"{FOLDER}/{number}.png", png(90, number))
                time.sleep(0.7)

        writer = meanwhile(write)
        assert not incomplete(lake)
        assert len(seen(lake)) == 6
        writer.join()

    def it_gives_up_on_a_writer_that_does_not_end(self, lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DARKROOM_INBOX_WAIT_SECONDS", "4")
        get_settings.cache_clear()
        ended = threading.Event()

        def write() -> None:
            while not ended.wait(0.3):
                lake.write(f"{FOLDER}/1.png", png(90, 1))

        writer = meanwhile(write)
        try:
            assert incomplete(lake)
        finally:
            ended.set()
            writer.join()

    @pytest.mark.parametrize("name", UNDER_WAY)
    def it_does_not_read_a_file_under_the_name_of_one_under_way(self, lake: Storage, name: str) -> None:
        lake.write(f"{FOLDER}/{name}", b"half a fi")
        assert seen(lake) == []
        lake.write(f"{FOLDER}/part.png", png(90, 1))  # a name that only looks like one
        assert seen(lake) == ["part.png"]

    def it_does_not_take_an_inbox_of_files_under_way_for_complete(
        self, lake: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake.write(f"{FOLDER}/1.png.part", b"half a fi")
        monkeypatch.setenv("DARKROOM_INBOX_WAIT_SECONDS", "4")
        get_settings.cache_clear()
        assert incomplete(lake)

    def it_reads_the_renamed_file(self, lake: Storage) -> None:
        data = png(90, 1)

        def write() -> None:
            for end in (40, 80, len(data)):
                lake.write(f"{FOLDER}/1.png.part", data[:end])
                time.sleep(0.7)
            lake.write(f"{FOLDER}/1.png", data)  # an object store has no rename: copy, then delete
            lake.delete(f"{FOLDER}/1.png.part")

        writer = meanwhile(write)
        assert not incomplete(lake)
        writer.join()
        assert seen(lake) == ["1.png"]
        assert lake.read(f"{FOLDER}/1.png") == data

    def it_waits_for_a_file_under_way_beside_images_that_are_there(self, lake: Storage) -> None:
        lake.write(f"{FOLDER}/1.png", png(90, 1))

        def write() -> None:
            for size in range(1, 8):
                lake.write(f"{FOLDER}/2.png.part", bytes(size))
                time.sleep(0.6)
            lake.delete(f"{FOLDER}/2.png.part")
            lake.write(f"{FOLDER}/2.png", png(90, 2))

        writer = meanwhile(write)
        assert not incomplete(lake)
        writer.join()
        assert seen(lake) == ["1.png", "2.png"]

    def it_classifies_a_date_again_whose_file_was_replaced(self, lake: Storage, spark: Any) -> None:
        for number in range(4):
            lake.write(f"{FOLDER}/{number}.png", png(90, number))
        request = self.request(lake)
        classified(spark, plan_prediction(lake, request))()
        before = self.rows(lake)
        assert plan_prediction(lake, request).earlier is not None
        lake.write(f"{FOLDER}/2.png", png(165, 7))
        plan = plan_prediction(lake, request)
        assert plan.earlier is None
        classified(spark, plan)()
        after = self.rows(lake)
        assert {path for path in after if after[path]["image_id"] != before[path]["image_id"]} == {"2.png"}
        assert (before["2.png"]["label"], after["2.png"]["label"]) == ("DARK", "BRIGHT")
        assert plan_prediction(lake, request).earlier is not None

    def it_shows_nothing_of_a_date_whose_files_changed_while_it_was_classified(self, lake: Storage, spark: Any) -> None:
        for number in range(4):
            lake.write(f"{FOLDER}/{number}.png", png(90, number))
        request = self.request(lake)
        for change in (lambda: lake.write(f"{FOLDER}/2.png", png(165, 7)), lambda: lake.delete(f"{FOLDER}/3.png")):
            commit = classified(spark, plan_prediction(lake, request))
            change()
            with pytest.raises(StorageUnavailable, match=r"/[23]\.png was replaced or removed while it was classified"):
                commit()
            assert Table(lake, predictions_table("lamps")).version() is None
        commit = classified(spark, plan_prediction(lake, request))
        lake.write(f"{FOLDER}/late.png", png(90, 8))
        commit()  # what arrives late is the next run's
        assert set(self.rows(lake)) == {"0.png", "1.png", "2.png"}
        assert plan_prediction(lake, request).earlier is None
