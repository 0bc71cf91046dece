"""The page kit: everything escaped, nothing from outside, numbers that people can read."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from darkroom.errors import InvalidRequest
from darkroom.figures import ink_on, new_figure, plain, png, svg, tidy
from darkroom.html import Page, byte_size, escape, number, percent, plural, printable
from darkroom.palette import CLASS_COLORS, UNLABELLED, class_colors, split_color

pytestmark = pytest.mark.unit

EVIL = "<script>alert(1)</script> & \" ' </style> \ud800 \u202e\x00"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


class Strict(HTMLParser):
    """Collects tags, attributes and unbalanced elements."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def everything(text: str) -> str:
    page = Page(text, text).section(text).heading(text).text(text).bullets([text]).callout("problem", text)
    page.tiles([(text, text, text)]).facts([(text, text)]).table([text], [[text]], title=text)
    page.table([text], [[text]], title=text, folded=True).link(text, "https://example.org/?a=1&b=<")
    page.figure(PNG, text, text).figure("<svg></svg>", text, text, half=True).gallery(text, [(PNG, text)])
    return page.render()


def it_escapes_whatever_it_is_given() -> None:
    found = Strict(everything(EVIL))
    assert not found.open
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    everything(EVIL).encode()


def it_takes_nothing_from_outside_the_page() -> None:
    found = Strict(everything("plain"))
    assert not {"link", "script", "iframe", "object"} & set(found.tags)
    sources = [value or "" for name, value in found.attributes if name == "src"]
    assert sources
    assert all(value.startswith("data:image/") for value in sources)
    assert not re.search(r"url\(|@import|@font-face", everything("plain"))


def it_lists_every_section_under_an_address_of_its_own() -> None:
    page = (
        Page("t")
        .section("Leaks & more")
        .section("Leaks, more")
        .section("日本")
        .section("x", anchor="my place")
        .render()
    )
    anchors = re.findall(r'<section class="card" id="([^"]+)"', page)
    assert anchors == ["leaks-more", "leaks-more-2", "section", "my-place"]
    assert re.findall(r'<li><a href="#([^"]+)"', page) == anchors


def it_renders_without_any_section() -> None:
    assert not Strict(Page("only a title").render()).open


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (12.0, "12"),
        (0.123456, "0.1235"),
        (1234.56, "1,235"),
        (-3.14159, "-3.142"),
        (0.00001234, "1.234e-05"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (True, "yes"),
    ],
)
def it_writes_numbers_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def it_writes_shares_sizes_and_plurals() -> None:
    assert (percent(0.1234), percent(None), percent(1, 0)) == ("12.3 %", "–", "100 %")
    assert (byte_size(1), byte_size(2048), byte_size(3 * 2**40)) == ("1 byte", "2.0 KiB", "3.0 TiB")
    assert (plural(1, "image"), plural(2000, "image"), plural(0, "class", "classes")) == (
        "1 image",
        "2,000 images",
        "0 classes",
    )


def it_aligns_columns_of_numbers_to_the_right_and_texts_to_the_left() -> None:
    rows = [["a", 1000, "12.3 %", np.int64(5), "x1"], ["b", None, "1,234", np.float32(0.5), "2"]]
    page = Page("t").table(["name", "count", "share", "numpy", "mixed"], rows).render()
    assert re.findall(r'<th scope="col"( class="n")?>', page) == ["", *[' class="n"'] * 3, ""]
    assert "1,000" in page
    assert "0.5" in page


def it_marks_rows_with_their_colour_and_refuses_what_is_none() -> None:
    page = Page("t").table(["class"], [["a"], ["b"]], colors=["#0072b2"]).render()
    assert page.count('<i class="mark"') == 1
    with pytest.raises(InvalidRequest, match="#rrggbb"):
        Page("t").gallery("g", [], color="red;background:url(x)")


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//elsewhere.example", "file:///etc/passwd"]
)
def it_links_only_to_http_and_relative_addresses(address: str) -> None:
    with pytest.raises(InvalidRequest):
        Page("t").link("x", address)


def it_refuses_pictures_of_unknown_kinds() -> None:
    with pytest.raises(InvalidRequest, match="PNG or JPEG"):
        Page("t").figure(b"GIF89a", "x", "x")
    with pytest.raises(InvalidRequest, match="no SVG"):
        Page("t").figure("<b>hello</b>", "x", "x")


def it_replaces_what_cannot_be_printed() -> None:
    assert printable("a\x00b\ud800c\u202ed\n") == "a\ufffdb\ufffdc\ufffdd\n"
    assert escape('"<&') == "&quot;&lt;&amp;"


def it_gives_a_class_the_same_colour_whatever_the_order() -> None:
    names = [f"class {i:02d}" for i in range(30)]
    assert class_colors(names) == class_colors([*reversed(names), names[3]])
    colors = class_colors(names)
    assert len(set(colors.values())) == len(names) + 1
    assert [colors[name] for name in names[:8]] == list(CLASS_COLORS)
    assert colors[None] == UNLABELLED
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors.values())
    assert len({split_color(name) for name in ("train", "val", "test", "out", None)}) == 5


def chart() -> tuple[bytes, str]:
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.bar([plain("a $x$ <b> & \x00"), plain("字" * 8)], [1000, 2000])
    axes.set_ylabel("images")
    tidy(axes)
    return png(figure, title="Title $x$"), svg(figure)


def it_draws_equal_charts_as_equal_bytes_that_fit_a_light_and_a_dark_page() -> None:
    first, second = chart(), chart()
    assert first == second
    assert first[0].startswith(b"\x89PNG")
    text = first[1]
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "a $x$ &lt;b&gt; &amp; \ufffd" in text
    assert "2,000" in text
    assert "font-family" not in text
    assert not Strict(Page("t").figure(text, "x", "x").render()).open


def it_writes_on_a_colour_in_what_can_be_read_there() -> None:
    assert (ink_on("#ffffff"), ink_on("#000000"), ink_on("#e69f00"), ink_on("#0072b2")) == (
        "#000000",
        "#ffffff",
        "#000000",
        "#ffffff",
    )
