"""Which champion classifies a date: today's, that of the date, one that is named, or the one that wrote it before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, cast

from darkroom import champions
from darkroom.champions import Champion
from darkroom.errors import InvalidRequest
from darkroom.storage import Storage

Mode = Literal["newest", "as_of", "rescore"]
_ENTRY = re.compile(r"entry:(\d{1,9})")


@dataclass(frozen=True)
class Choice:
    """The champion, and what a reader of the results should know of why it is this one; empty where it is plain."""

    champion: Champion
    note: str = ""


def mode_of_run(asked: str, run_type: str, clear_number: int | None) -> Mode:
    """What "auto" means for a run: today's champion on schedule; else, and where a run is done again, the date's."""
    if asked != "auto":
        return cast(Mode, asked)
    return "newest" if run_type == "scheduled" and not clear_number else "as_of"


def choose_champion(lake: Storage, model: str, mode: Mode, dt: str, version: str = "") -> Choice:
    """The champion of ``model`` for the date ``dt`` ("YYYY-MM-DD").

    newest: today's. as_of: the one at the end of the date, UTC; before the first champion: the first. rescore: the
    ``version`` (of the model registry, or "entry:<n>" of the champion history), else today's. Withdrawn champions are
    never chosen. Raises NoChampion where the model has none, InvalidRequest for a version that cannot be used.
    """
    standing, withdrawn = _promoted(lake, model)
    if mode == "rescore" and version:
        return Choice(_named(model, version, standing, withdrawn))
    today = champions.resolve_champion(lake, model)
    if mode != "as_of":
        return Choice(Champion.from_dict(today))
    champion = champions.current(lake, model, date.fromisoformat(dt))
    if champion is not None:
        return Choice(champion)
    first = standing[0]
    return Choice(
        first,
        f"{model} had no champion yet at the end of {dt}: its first is taken, version {first.version} of "
        f"{first.promoted_at:%Y-%m-%d}.",
    )


def champion_that_wrote(lake: Storage, model: str, dt: str, package_id: str | None) -> Choice:
    """The champion with this package, so that late images are classified as their neighbours were; else as_of.

    None as ``package_id`` means that nobody has written the date. Raises NoChampion where the model has none.
    """
    standing, withdrawn = _promoted(lake, model)
    if package_id is None:
        return choose_champion(lake, model, "as_of", dt)
    if same := [champion for champion in standing if champion.package_id == package_id]:
        return Choice(same[-1])
    found = choose_champion(lake, model, "as_of", dt)
    gone = [champion for champion in withdrawn if champion.package_id == package_id]
    why = f"version {gone[-1].version} was withdrawn" if gone else "its model is not in the champion history"
    told = f"{dt} was written before, but {why}: the whole date goes to version {found.champion.version}."
    return Choice(found.champion, f"{told} {found.note}".strip())


def _promoted(lake: Storage, model: str) -> tuple[list[Champion], list[Champion]]:
    """Every promotion that stands, and every one that was withdrawn; oldest first. Raises NoChampion without any."""
    standing = champions.standing(lake, model)
    if not standing:
        champions.resolve_champion(lake, model)  # says that there is no champion
    numbers = {champion.number for champion in standing}
    promoted = [Champion.from_dict(e) for e in champions.history(lake, model) if e["kind"] == "promoted"]
    return standing, [champion for champion in promoted if champion.number not in numbers]


def _named(model: str, version: str, standing: list[Champion], withdrawn: list[Champion]) -> Champion:
    entry = _ENTRY.fullmatch(version)

    def fits(champion: Champion) -> bool:
        return champion.number == int(entry[1]) if entry else champion.version == version

    if found := [champion for champion in standing if fits(champion)]:
        return found[-1]
    what = f"The version {version!r} of {model}"
    why = "was withdrawn" if any(fits(champion) for champion in withdrawn) else "was never its champion"
    known = ", ".join(f"{champion.version} (entry:{champion.number})" for champion in standing)
    raise InvalidRequest(f"{what} {why}, so it classifies nothing. Expected one of: {known}. Name one of them.")
