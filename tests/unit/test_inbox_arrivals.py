"""Inboxes in a folder, where writers also fill a file in pieces and rename it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from darkroom.storage import Storage
from tests.packages import png
from tests.suites.inboxes import FOLDER, InboxSuite, incomplete, meanwhile, seen

pytestmark = pytest.mark.unit


class TestInboxInAFolder(InboxSuite):
    def it_waits_for_a_file_that_is_written_in_pieces(self, lake: Storage) -> None:
        data = png(90, 1, 200)
        file = Path(lake.uri(f"{FOLDER}/1.png"))
        file.parent.mkdir(parents=True)

        def write() -> None:
            with file.open("wb") as stream:
                for start in range(0, len(data), len(data) // 6 + 1):
                    stream.write(data[start : start + len(data) // 6 + 1])
                    stream.flush()
                    time.sleep(0.7)

        writer = meanwhile(write)
        assert not incomplete(lake)
        assert file.read_bytes() == data
        writer.join()

    def it_waits_for_a_writer_that_renames_and_keeps_old_times(self, lake: Storage) -> None:
        folder = Path(lake.uri(FOLDER))
        folder.mkdir(parents=True)

        def write() -> None:
            for number in range(4):
                hidden = folder / f".{number}.png.Xy12Zw"
                with hidden.open("wb") as stream:
                    for _ in range(3):
                        stream.write(b"a piece")
                        stream.flush()
                        time.sleep(0.3)
                os.utime(hidden, (10**9, 10**9))  # as rsync -t and cp -p do
                hidden.rename(folder / f"{number}.png")

        writer = meanwhile(write)
        assert not incomplete(lake)
        writer.join()
        assert seen(lake) == [f"{number}.png" for number in range(4)]
