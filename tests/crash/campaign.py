"""Kills one write at its points, one process each, and says what readers saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, takewhile

from darkroom.storage import Storage
from tests.crash.points import Inside, Outcome, run
from tests.crash.writes import WRITES

Fresh = Callable[[], Storage]
Tell = Callable[[str, object], None]
KILLS = "kills"  # the property of a test that says how often it killed

_SHORTEST_STEP = 1e-5


def points(name: str, fresh: Fresh) -> tuple[str, ...]:
    """The points of a write that is not killed."""
    storage = fresh()
    WRITES[name].prepare(storage)
    return run(name, storage).names


def kill(name: str, fresh: Fresh, at: Iterable[int]) -> int:
    """Kills at each of the points; the number of kills. Fails unless readers see old or new and a rerun the new."""
    expected = _expected(name, fresh)
    return sum(_kill_once(name, fresh, expected, kill_at=point).killed for point in at)


def sample(total: int, count: int) -> list[int]:
    """At most ``count`` of ``total`` points, evenly spread over them."""
    return sorted({(2 * number + 1) * total // (2 * count) for number in range(count)})


def kill_within(name: str, fresh: Fresh, step: float) -> int:
    """Ends the process inside its commit, each time ``step`` seconds later, until it outlives the commit; the kills.

    Where the commit is quicker than one step, steps are a quarter as long.
    """
    killed = _kill_all(name, fresh, (Inside(seconds=step * number) for number in count(1)))
    return killed if killed or step < _SHORTEST_STEP else kill_within(name, fresh, step / 4)


def kill_at_messages(name: str, fresh: Fresh, every: int = 1) -> int:
    """Kills at every message, or one of ``every`` so many, of the commit to and from its server; the kills."""
    return _kill_all(name, fresh, (Inside(message=number) for number in count(0, every)))


def _kill_all(name: str, fresh: Fresh, moments: Iterable[Inside]) -> int:
    expected = _expected(name, fresh)
    return sum(1 for _ in takewhile(lambda at: _kill_once(name, fresh, expected, inside=at).killed, moments))


def _kill_once(
    name: str, fresh: Fresh, expected: object, *, kill_at: int | None = None, inside: Inside | None = None
) -> Outcome:
    write = WRITES[name]
    storage = fresh()
    write.prepare(storage)
    old = write.look(storage)
    outcome = run(name, storage, kill_at=kill_at, inside=inside)
    seen = write.look(storage)
    write.act(storage)
    new = write.look(storage)
    where = f"{name}, killed at {kill_at}, {inside}"
    assert outcome.killed or kill_at is None, where
    assert new == expected, where
    assert seen in (old, new), where
    write.act(storage)
    assert write.look(storage) == new, where
    return outcome


def _expected(name: str, fresh: Fresh) -> object:
    storage = fresh()
    WRITES[name].prepare(storage)
    WRITES[name].act(storage)
    return WRITES[name].look(storage)
