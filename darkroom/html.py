"""A small kit for self-contained HTML pages: EDA, validation, comparison, run summaries.

    page = Page("Chest X-rays", "version 1a2b3c")
    page.section("Images per split")
    page.tiles([("images", 5840, "in 2 classes"), ("leaks", 0, "between the given splits")])
    page.text("Most images are in train.")
    page.table(["split", "images", "share"], [["train", 5216, percent(0.893)]])
    page.figure(png, "Images per split", alt="Bars: train 5,216, test 624")
    page.callout("warning", "12 images are in two splits.")
    storage.write(path, page.render().encode())

Every text is escaped; pictures stand inside the page; there is no script and no outside asset. Pages follow the
reader's light or dark preference, fit a phone, and print. Sections appear in a contents list.
Numbers in tables and tiles get thousands separators and stand right-aligned.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from darkroom.errors import InvalidRequest
from darkroom.html_style import CSS

CalloutKind = Literal["good", "note", "warning", "problem"]

# Control characters, lone surrogates and marks that turn the direction of writing: none may reach a page.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_WRITTEN = re.compile(r"–|[-−]?[\d,]+(\.\d+)?(e-?\d+)?( (%|bytes?|KiB|MiB|GiB|TiB|s))?")
_RIGHT = ' class="n"'
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def printable(text: object) -> str:
    """``text`` with every character that cannot be shown, or would disturb its surroundings, as U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", str(text))


def escape(text: object) -> str:
    """``text`` safe to stand in HTML, inside an element or a quoted attribute."""
    return html.escape(printable(text), quote=True)


def number(value: float | None, digits: int = 4) -> str:
    """``value`` for people: 12,345 and 0.1235 (``digits`` significant ones); an en dash for None and NaN."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) < 1e-4 else f"{value:,.{_decimals(value, digits)}f}"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share between 0 and 1 as "12.3 %"; an en dash for None and NaN."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share * 100:,.{decimals}f} %"


def byte_size(count: float) -> str:
    """A count of bytes in the unit that fits: "412 bytes", "3.2 MiB"."""
    if count < 1024:
        return plural(int(count), "byte")
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """ "1 image", "12,345 images"; ``nouns`` where adding an s is not enough."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


class Page:
    """A page that is built from top to bottom; every method returns the page itself.

    What comes before the first ``section`` stands under the title and not in the contents list.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._subtitle = subtitle
        self._contents: list[tuple[str, str]] = []
        self._blocks: list[list[str]] = [[]]

    def section(self, title: str, anchor: str | None = None) -> Self:
        """Starts a section. ``anchor`` is its address in the page; by default it is made from the title."""
        wanted = re.sub(r"[^a-z0-9]+", "-", (anchor or title).lower()).strip("-") or "section"
        taken = {name for name, _ in self._contents}
        name, count = wanted, 2
        while name in taken:
            name, count = f"{wanted}-{count}", count + 1
        self._contents.append((name, title))
        self._blocks.append([f"<h2>{escape(title)}</h2>"])
        return self

    def heading(self, title: str) -> Self:
        """A smaller heading inside a section."""
        return self._add(f"<h3>{escape(title)}</h3>")

    def text(self, text: str) -> Self:
        """A paragraph; a blank line starts another."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            self._add(f"<p>{escape(paragraph)}</p>")
        return self

    def bullets(self, items: Iterable[object]) -> Self:
        return self._add("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")

    def link(self, text: str, address: str) -> Self:
        """A line that links to ``address``: http(s), or relative to this page. Raises InvalidRequest for others."""
        if urlsplit(address).scheme not in ("", "http", "https") or address.startswith("//"):
            raise InvalidRequest(
                f"A page cannot link to {address!r}. Expected an http(s) or a relative address. Use one of those."
            )
        return self._add(f'<p><a href="{escape(address)}" rel="noopener noreferrer">{escape(text)}</a></p>')

    def callout(self, kind: CalloutKind, text: str) -> Self:
        """A boxed remark: "good", "note", "warning" or "problem"."""
        word = {"good": "Good", "note": "Note", "warning": "Look", "problem": "Problem"}[kind]
        return self._add(f'<p class="callout {kind}" role="note"><strong>{word}</strong> {escape(text)}</p>')

    def tiles(self, tiles: Iterable[tuple[str, Any, str]]) -> Self:
        """Key figures side by side: (name, number or text, a few words)."""
        cells = (
            f'<div class="tile"><dt>{escape(name)}</dt><dd><b>{escape(_cell(value))}</b>'
            + (f"<span>{escape(note)}</span>" if note else "")
            + "</dd></div>"
            for name, value, note in tiles
        )
        return self._add(f'<dl class="tiles">{"".join(cells)}</dl>')

    def facts(self, facts: Iterable[tuple[str, Any]]) -> Self:
        """Names and values in two columns."""
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(_cell(value))}</td></tr>' for name, value in facts
        )
        return self._add(f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>')

    def table(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        title: str = "",
        folded: bool = False,
        colors: Sequence[str | None] = (),
    ) -> Self:
        """A table. Cells are texts, numbers, booleans or None.

        ``folded``: shown only when the reader opens it. ``colors``: a "#rrggbb" (or None) a row, shown as a mark
        beside the row's first cell.
        """
        listed = [list(row) for row in rows]
        right = [_is_numeric([row[i] for row in listed]) for i in range(len(headers))]
        head = "".join(
            f'<th scope="col"{_RIGHT if numeric else ""}>{escape(name)}</th>'
            for name, numeric in zip(headers, right, strict=True)
        )
        marks = [*colors, *[None] * (len(listed) - len(colors))]
        body = []
        for row, color in zip(listed, marks, strict=True):
            cells = [
                f"<td{_RIGHT if numeric else ''}>{escape(_cell(value))}</td>"
                for value, numeric in zip(row, right, strict=True)
            ]
            if color and cells:
                cells[0] = cells[0].replace(">", f">{_mark(color)}", 1)
            body.append(f"<tr>{''.join(cells)}</tr>")
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        if folded:
            return self._add(
                f'<details><summary>{escape(title or "Table")}</summary><div class="wide">{table}</div></details>'
            )
        caption = f'<p class="caption">{escape(title)}</p>' if title else ""
        return self._add(f'<div class="wide">{caption}{table}</div>')

    def figure(self, image: bytes | str, title: str, alt: str, *, half: bool = False) -> Self:
        """A picture with its title: PNG or JPEG bytes, or the text of an SVG (``darkroom.figures`` makes both).

        ``alt`` says in words what the picture shows. Two ``half`` figures in a row stand side by side where there is
        room. An SVG follows the page's light or dark colours where it paints with ``currentColor``; its text is
        put into the page as it is, so it must come from a program that escapes, such as matplotlib.
        """
        if isinstance(image, str):
            start = image.find("<svg")
            if start < 0:
                raise InvalidRequest(
                    f"A text of {len(image):,} characters is no SVG. Expected <svg …>. Give PNG bytes."
                )
            inner = f'<div class="svg" role="img" aria-label="{escape(alt)}">{image[start:]}</div>'
        else:
            inner = f'<div class="paper"><img src="{_data_uri(image)}" alt="{escape(alt)}"></div>'
        css = "half" if half else "full"
        return self._add(f'<figure class="{css}"><figcaption>{escape(title)}</figcaption>{inner}</figure>')

    def gallery(
        self, title: str, pictures: Iterable[tuple[bytes, str]], *, color: str | None = None, half: bool = False
    ) -> Self:
        """Small pictures (PNG or JPEG bytes, caption) in rows under a title, with a mark in ``color`` beside it.

        Two ``half`` galleries in a row stand side by side where there is room.
        """
        cells = "".join(
            f'<div><img src="{_data_uri(data)}" alt="{escape(caption)}" title="{escape(caption)}" loading="lazy">'
            f"<span>{escape(caption)}</span></div>"
            for data, caption in pictures
        )
        mark = _mark(color) if color else ""
        css = "gallery half" if half else "gallery"
        head = f"<h3>{mark}{escape(title)}</h3>"
        return self._add(f'<section class="{css}">{head}<div class="strip">{cells}</div></section>')

    def render(self) -> str:
        """The whole page, a text that ``.encode()`` takes without errors."""
        links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in self._contents)
        nav = f'<nav aria-label="Contents"><strong>Contents</strong><ol>{links}</ol></nav>' if links else ""
        head, *sections = self._blocks
        anchors = [name for name, _ in self._contents]
        body = "".join(
            f'<section class="card" id="{anchor}">{"".join(blocks)}</section>'
            for anchor, blocks in zip(anchors, sections, strict=True)
        )
        intro = f'<div class="card intro">{"".join(head)}</div>' if head else ""
        subtitle = f"<p>{escape(self._subtitle)}</p>" if self._subtitle else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(self._title)}</title><style>{CSS}</style></head>\n"
            f"<body><header><h1>{escape(self._title)}</h1>{subtitle}</header>\n"
            f"<div class=layout>{nav}<main>{intro}{body}</main></div></body></html>\n"
        )

    def _add(self, block: str) -> Self:
        self._blocks[-1].append(block + "\n")
        return self


def _decimals(value: float, digits: int) -> int:
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return max(digits - whole, 0)


def _is_numeric(column: Sequence[Any]) -> bool:
    """Whether a column holds numbers (also written out by ``number``, ``percent``, ``byte_size``) and nothing else."""
    cells = [value for value in column if value is not None]
    return bool(cells) and all(
        bool(_WRITTEN.fullmatch(value)) if isinstance(value, str) else hasattr(value, "__float__") for value in cells
    )


def _cell(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    return number(value) if value is None or isinstance(value, int | float) else printable(value)


def _mark(color: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise InvalidRequest(f"{color!r} is no colour. Expected #rrggbb. Take it from darkroom.palette.")
    return f'<i class="mark" style="background:{color}"></i>'


def _data_uri(data: bytes) -> str:
    kinds = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"))
    for magic, kind in kinds:
        if data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    raise InvalidRequest(f"A picture starts with {data[:8]!r}. Expected PNG or JPEG bytes. Convert it first.")
