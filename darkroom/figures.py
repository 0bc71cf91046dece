"""Charts drawn with matplotlib's Agg and SVG backends through Figure objects: no global pyplot state.

    chart = new_figure(7, 4)
    axes = chart.subplots()
    ...
    page.figure(svg(chart), "Images per split", alt="...")
    storage.write("split.png", png(chart))

Equal charts give equal bytes: no dates, no random ids. Text is painted in ``INK``; in an SVG that becomes the page's
own text colour, so that a chart is readable on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from darkroom.html import printable

INK = "#1c2329"
GRID = "#7f8a95"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "darkroom",
}
PNG_DPI = 120
PNG_MARGIN = 16  # pixels, white


def new_figure(width: float = 7.0, height: float = 4.0) -> Figure:
    """An empty figure, sizes in inches, that lays its axes out so that nothing overlaps."""
    with mpl.rc_context(_STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def plain(text: object, limit: int = 40) -> str:
    """A name from the data, fit for a chart: no formula, no control characters, at most ``limit`` characters."""
    shown = printable(text).replace("\n", " ").replace("\t", " ")
    if len(shown) > limit:
        shown = f"{shown[: limit - 1]}…"
    return shown.replace("$", r"\$")


def tidy(axes: Axes, *, grid: str = "y", x_numbers: bool = False, y_numbers: bool = True) -> None:
    """The common look: two spines, a faint grid along ``grid`` (x, y, both, or none), thousands separators."""
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(GRID)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(True, axis=grid, color=GRID, alpha=0.28, linewidth=0.7)  # type: ignore[arg-type]
    axes.tick_params(colors=INK, length=0, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
    counts = FuncFormatter(lambda value, _: f"{value:,.10g}")
    if x_numbers:
        axes.xaxis.set_major_formatter(counts)
    if y_numbers:
        axes.yaxis.set_major_formatter(counts)


def legend_above(figure: Figure, handles: list[Any] | None = None) -> None:
    """A legend in rows above all axes of a figure, as many columns as fit its width."""
    drawn = handles if handles is not None else figure.axes[0].get_legend_handles_labels()[0]
    longest = max((len(str(handle.get_label())) for handle in drawn), default=1)
    fitting = int(figure.get_figwidth() / (0.082 * longest + 0.42))
    figure.legend(
        handles=drawn,
        loc="outside upper left",
        ncols=max(1, min(fitting, len(drawn))),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.1,
        columnspacing=1.2,
    )


def ink_on(color: str) -> str:
    """Black or white, whichever is easier to read on a "#rrggbb" (relative luminance, WCAG 2)."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "#000000" if 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.25 else "#ffffff"


def png(figure: Figure, *, title: str = "") -> bytes:
    """The figure as PNG bytes on white, under ``title``; always the same for the same figure."""
    parts = [_pixels(figure)]
    if title:
        lines = textwrap.wrap(plain(title, 200), max(int(12 * figure.get_figwidth()), 10))
        band = Figure(figsize=(figure.get_figwidth(), 0.2 * len(lines) + 0.12))
        band.text(
            0.012, 0.98, "\n".join(lines), va="top", fontsize=11, fontweight="bold", color=INK, family="DejaVu Sans"
        )
        parts.insert(0, _pixels(band))
    out = io.BytesIO()
    whole = np.pad(np.vstack(parts), ((PNG_MARGIN, PNG_MARGIN), (PNG_MARGIN, PNG_MARGIN), (0, 0)), constant_values=255)
    Image.fromarray(whole).save(out, "PNG")
    return out.getvalue()


def svg(figure: Figure) -> str:
    """The figure as the text of an SVG without a ground, its ink the colour of the text around it."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE), _laid_out(figure):
        figure.patch.set_facecolor("none")
        for axes in figure.axes:
            axes.patch.set_facecolor("none")
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;]*;\s*", "", text)  # the page's own
    return text.replace(INK, "currentColor")


def _pixels(figure: Figure) -> np.ndarray:
    """uint8[H, W, 3] on white. (``savefig`` would draw everything twice.)"""
    with mpl.rc_context(_STYLE), _laid_out(figure):
        figure.set_dpi(PNG_DPI)
        figure.patch.set_facecolor("white")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lays the axes out once; matplotlib on its own does it four times a file, half of the time of saving one.

    A script that the bundled font lacks is drawn as boxes in a PNG (an SVG uses the reader's fonts). That is no reason
    to fill a task's log with a line a character.
    """
    engine = figure.get_layout_engine()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        try:
            yield
        finally:
            figure.set_layout_engine(engine)
