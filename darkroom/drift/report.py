"""What a check found, as plain values for a page, a log and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["checked", "no reference", "small reference", "too few images"]


@dataclass(frozen=True)
class Signal:
    """One thing that was compared. ``p`` is its own p-value, ``corrected`` that for looking at all signals.

    ``statistic`` is the squared distance; ``usual`` the largest that 95 % of undrifted days reach; ``reference`` and
    ``day`` say in a few words what the two looked like.
    """

    name: str
    p: float
    corrected: float
    statistic: float
    usual: float
    reference: str
    day: str


@dataclass(frozen=True)
class Unlike:
    """One image far from the reference: ``distance`` is 1 for the furthest of 95 % of the reference's own images.

    ``by`` says what it is far by: "embedding" or "measurements" (sizes, intensities); ``rank`` is the share of
    reference images that are nearer.
    """

    image_id: str
    distance: float
    by: str
    rank: float


@dataclass(frozen=True)
class DriftReport:
    """A day against the reference. ``p`` is None unless ``state`` is "checked"; ``said`` tells the whole in a sentence.

    ``images`` were compared; ``left_out`` counts the rest by reason; ``skipped`` names signals that could not be
    compared, with the reason.
    """

    state: State
    said: str
    images: int
    left_out: dict[str, int]
    p: float | None = None
    signals: tuple[Signal, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    unlike: tuple[Unlike, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return asdict(self)
