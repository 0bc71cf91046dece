"""The colours of every chart and page: one colour for one class, wherever the class is shown.

Class colours follow Okabe and Ito, "Color Universal Design" (2008), which readers with any common form of colour
blindness tell apart; split colours are Paul Tol's high-contrast set (2021), which also survives a gray print.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

from darkroom.contract import OUT, TEST, TRAIN, VAL

CLASS_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7a5195")
UNLABELLED = "#8a939b"
SPLIT_COLORS = {TRAIN: "#2f6db5", VAL: "#ddaa33", TEST: "#bb5566", OUT: "#8a939b"}
NO_SPLIT = "#6d8299"


def class_colors(labels: Iterable[str | None]) -> dict[str | None, str]:
    """A colour ("#rrggbb") for each class name; None stands for images without a label and is always gray.

    Colours go by the place of a name in the sorted list of all distinct names, so give every chart of a dataset the
    dataset's whole list. Past the eight that can be told apart for certain, hues a golden angle apart follow.
    """
    names = sorted({label for label in labels if label is not None})
    colors: dict[str | None, str] = {name: _color(position) for position, name in enumerate(names)}
    colors[None] = UNLABELLED
    return colors


def split_color(split: str | None) -> str:
    """The colour ("#rrggbb") of train, val, test or out; None stands for images that no split was given for."""
    return SPLIT_COLORS.get(split or "", NO_SPLIT)


def _color(position: int) -> str:
    if position < len(CLASS_COLORS):
        return CLASS_COLORS[position]
    hue = (0.13 + 0.618034 * position) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.62)[position % 2], 0.55)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
