"""The champion history: only appended to, true for any date, and safe when two promote at once."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime
from typing import Any

import pytest

from darkroom import champions
from darkroom.contract import champion_entry
from darkroom.errors import CommitConflict, InvalidRequest, MachineryError, NoChampion
from darkroom.storage import Storage

pytestmark = pytest.mark.unit


def entry(package_id: str, version: str = "1") -> dict[str, Any]:
    return {
        "package": f"packages/lamps/{package_id}.zip",
        "package_id": package_id,
        "version": version,
        "run_id": "r",
        "dataset": "lamps",
        "dataset_version": "v",
        "split_id": "s",
        "transform_hash": "t",
        "details": {"reasons": ["good"]},
    }


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def it_has_no_champion_at_first(lake: Storage) -> None:
    assert champions.current(lake, "lamps") is None
    assert champions.history(lake, "lamps") == []
    with pytest.raises(NoChampion, match="has no champion yet"):
        champions.resolve_champion(lake, "lamps")


def it_keeps_every_promotion_and_names_the_last(lake: Storage) -> None:
    first = champions.append(lake, "lamps", entry("aa"), now=at(1))
    second = champions.append(lake, "lamps", entry("bb", "2"), now=at(2))
    assert (first.number, second.number) == (1, 2)
    assert champions.current(lake, "lamps") == second
    assert [one["package_id"] for one in champions.history(lake, "lamps")] == ["aa", "bb"]
    assert champions.Champion.from_dict(second.as_dict()) == second
    assert champions.resolve_champion(lake, "lamps")["package_id"] == "bb"


def it_does_not_promote_the_champion_again(lake: Storage) -> None:
    first = champions.append(lake, "lamps", entry("aa"), now=at(1))
    assert champions.append(lake, "lamps", entry("aa"), now=at(5)) == first
    assert len(champions.history(lake, "lamps")) == 1


def it_knows_the_champion_at_the_end_of_a_day(lake: Storage) -> None:
    champions.append(lake, "lamps", entry("aa"), now=at(1, 23))
    champions.append(lake, "lamps", entry("bb"), now=at(3, 0))

    def on(day: int) -> str | None:
        found = champions.current(lake, "lamps", date(2026, 3, day))
        return found.package_id if found else None

    assert [on(day) for day in (1, 2, 3, 4)] == ["aa", "aa", "bb", "bb"]
    assert champions.current(lake, "lamps", date(2026, 2, 28)) is None
    assert champions.resolve_champion(lake, "lamps", "2026-03-02")["package_id"] == "aa"
    with pytest.raises(NoChampion, match="2026-02-28"):
        champions.resolve_champion(lake, "lamps", "2026-02-28")
    with pytest.raises(InvalidRequest, match="YYYY-MM-DD"):
        champions.resolve_champion(lake, "lamps", "yesterday")


def it_goes_back_when_a_champion_is_withdrawn(lake: Storage) -> None:
    champions.append(lake, "lamps", entry("aa"), now=at(1))
    bad = champions.append(lake, "lamps", entry("bb"), now=at(2))
    champions.withdraw(lake, "lamps", bad.number, "trained on leaked images", now=at(4))
    for when in (None, date(2026, 3, 3), date(2026, 3, 9)):
        found = champions.current(lake, "lamps", when)
        assert found is not None
        assert found.package_id == "aa"
    with pytest.raises(InvalidRequest, match="not there"):
        champions.withdraw(lake, "lamps", 9, "no such entry", now=at(5))


def it_remembers_which_packages_were_withdrawn(lake: Storage) -> None:
    champions.append(lake, "lamps", entry("aa"), now=at(1))
    bad = champions.append(lake, "lamps", entry("bb"), now=at(2))
    assert champions.withdrawn_because(lake, "lamps", "bb") is None
    champions.withdraw(lake, "lamps", bad.number, "trained on leaked images", now=at(4))
    told = "This very package was champion, entry 2, and was withdrawn on 2026-03-04: trained on leaked images."
    assert champions.withdrawn_because(lake, "lamps", "bb") == told
    assert champions.withdrawn_because(lake, "lamps", "aa") is None


def it_withdraws_once(lake: Storage) -> None:
    champions.append(lake, "lamps", entry("aa"), now=at(1))
    for _ in range(2):
        champions.withdraw(lake, "lamps", 1, "trained on leaked images", by="ada", now=at(4))
    (_, withdrawn) = champions.history(lake, "lamps")
    assert (withdrawn["kind"], withdrawn["withdraws"], withdrawn["by"]) == ("withdrawn", 1, "ada")


def it_names_the_champion_that_each_one_followed(lake: Storage) -> None:
    for package in ("aa", "bb"):
        champions.append(lake, "lamps", entry(package, "7"), now=at(1))
    first, second = champions.history(lake, "lamps")
    assert first["from"] is None
    assert second["from"] == {"number": 1, "version": "7", "package_id": "aa"}


def it_promotes_only_after_the_entry_that_was_seen(lake: Storage) -> None:
    seen = champions.last_entry(lake, "lamps")
    champions.append(lake, "lamps", entry("aa"), now=at(1), after=seen)
    with pytest.raises(CommitConflict, match="faster"):
        champions.append(lake, "lamps", entry("bb"), now=at(2), after=seen)
    assert [one["package_id"] for one in champions.history(lake, "lamps")] == ["aa"]


def it_loses_no_promotion_when_many_race(lake: Storage) -> None:
    start = threading.Barrier(8)

    def promote(k: int) -> None:
        start.wait()
        champions.append(lake, "lamps", entry(f"p{k}"), now=at(1))

    threads = [threading.Thread(target=promote, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = champions.history(lake, "lamps")
    assert [one["number"] for one in entries] == list(range(1, 9))
    assert {one["package_id"] for one in entries} == {f"p{k}" for k in range(8)}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"number": 7, "kind": "promoted"}', b'{"number": 1}'])
def it_says_which_entry_is_damaged(lake: Storage, content: bytes) -> None:
    lake.write(champion_entry("lamps", 1), content)
    with pytest.raises(MachineryError, match=r"champions/lamps/1\.json"):
        champions.current(lake, "lamps")


def it_sorts_entries_by_number(lake: Storage) -> None:
    for k in range(12):
        champions.append(lake, "lamps", entry(f"p{k}"), now=at(1))
    found = champions.current(lake, "lamps")
    assert found is not None
    assert (found.number, found.package_id) == (12, "p11")
