"""A card: what is recorded of a dataset or a model, as Markdown, as a page for the browser, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.html import Page, number, printable
from darkroom.storage import Storage

NAMES = ("card.md", "card.json", "index.html")


@dataclass(frozen=True)
class Section:
    """One part of a card. ``table``: its headers and rows."""

    title: str
    text: str = ""
    facts: Sequence[tuple[str, Any]] = ()
    bullets: Sequence[str] = ()
    table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None


@dataclass(frozen=True)
class Card:
    """``record`` is what the card was made from, as it goes into card.json."""

    title: str
    subtitle: str
    record: Mapping[str, Any]
    sections: Sequence[Section] = field(default_factory=tuple)

    def markdown(self) -> str:
        """The card as CommonMark with tables. Names that came with the data cannot become markup."""
        lines = [f"# {escaped(self.title)}", "", escaped(self.subtitle), ""]
        for part in self.sections:
            lines += [f"## {escaped(part.title)}", ""]
            if part.text:
                lines += [part.text, ""]
            if part.facts:
                lines += [*_table(("", ""), part.facts), ""]
            if part.bullets:
                lines += [*(f"- {escaped(one)}" for one in part.bullets), ""]
            if part.table:
                lines += [*_table(*part.table), ""]
        return "\n".join(lines)

    def page(self) -> str:
        """The card as one self-contained HTML page."""
        page = Page(self.title, self.subtitle)
        for part in self.sections:
            page.section(part.title)
            if part.text:
                page.text(part.text)
            if part.facts:
                page.facts(part.facts)
            if part.bullets:
                page.bullets(part.bullets)
            if part.table:
                page.table(*part.table)
        return page.render()

    def write(self, lake: Storage, folder: str) -> str:
        """Leaves the three forms below ``folder`` of the lake; returns the page's path."""
        record = json.dumps(self.record, indent=1, sort_keys=True, ensure_ascii=False)
        for name, text in zip(NAMES, (self.markdown(), record, self.page()), strict=True):
            lake.write(f"{folder}/{name}", text.encode())
        return f"{folder}/{NAMES[2]}"


def owners_part(lake: Storage, path: str) -> Section:
    """What only the owner can say: intended use and licence. Kept in a file of its own, which no run overwrites."""
    title = "Intended use and licence: the owner's part"
    if lake.stat(path) is None:
        return Section(
            title,
            f"Not filled in. The licence is unknown: nothing that was recorded names it. The owner writes both, "
            f"as plain text, to {path} on the lake; the next run takes it over.",
        )
    return Section(title, lake.read(path, limit=64 * 1024).decode(errors="replace").strip())


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [
        f"| {' | '.join(escaped(name) for name in headers)} |",
        f"|{' --- |' * len(headers)}",
        *(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    return escaped(number(value) if value is None or isinstance(value, int | float) else value)


def escaped(text: object) -> str:
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(printable(text).split()))
