"""The dashboard: facts, charts and pictures put onto one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from darkroom.contract import TRAIN
from darkroom.eda import plots, split_plots
from darkroom.eda.findings import findings
from darkroom.eda.pictures import SAMPLES_PER_CLASS, Histograms, Reader, contact_sheet, encode_jpeg, histograms, samples
from darkroom.eda.sections import contradiction_section, duplicate_section, leak_section, problem_section
from darkroom.eda.statistics import Facts, cross, of_split, per_split, train_balance
from darkroom.figures import INK, new_figure, plain, png, svg
from darkroom.html import Page, byte_size, number, percent, plural
from darkroom.palette import split_color

MAX_CLASSES_IN_TABLE = 40


@dataclass
class Dashboard:
    """A page under construction, the PNG files that go beside it, and what they are drawn from."""

    page: Page
    facts: Facts
    reader: Reader
    seed: int
    files: dict[str, bytes] = field(default_factory=dict)

    def chart(self, name: str, figure: Figure, title: str, alt: str, *, half: bool = True) -> None:
        """Puts a figure onto the page and into a file of its own."""
        self.page.figure(svg(figure), title, alt, half=half)
        self.files[f"{name}.png"] = png(figure, title=title)

    def build(self) -> None:
        """Every section, in the order of reading."""
        _overview(self)
        if not len(self.facts.files):
            return
        _splits_and_classes(self)
        if self.facts.splits is not None:
            _before_and_after(self)
        if len(self.facts.usable):
            classes = plots.shown_classes(self.facts)
            _samples(self, classes)
            found = histograms(self.facts, self.reader, classes[:6], self.seed)
            _sizes(self)
            _intensity(self, found)
        problem_section(self.page, self.facts)
        duplicate_section(self.page, self.facts, self.reader)
        leak_section(self.page, self.facts, self.reader)
        contradiction_section(self.page, self.facts, self.reader)


def _overview(board: Dashboard) -> None:
    facts, page = board.facts, board.page
    distinct = facts.files["content_id"].nunique()
    broken = sum(facts.problems.values())
    leaks = sum(facts.leaks[kind]["sets"] for kind in ("identical", "near_duplicates", "groups"))
    page.tiles(
        [
            ("files", len(facts.files), byte_size(int(facts.files["size_bytes"].sum()))),
            ("distinct images", int(distinct), f"{number(len(facts.files) - distinct)} exact repeats"),
            ("classes", len(facts.classes), _names(list(facts.classes))),
            ("groups", int(facts.files["group"].nunique()), "of images that belong together"),
            ("broken files", broken, ", ".join(facts.problems) or "every file decodes"),
            ("near duplicates", facts.duplicates["near"]["sets"], "sets of images that look the same"),
            ("leaks", leaks, "sets across the given splits"),
            ("contradictions", facts.contradictions["contents"], "images with two labels"),
        ]
    )
    page.section("What to look at first", "findings")
    for kind, text in findings(facts):
        page.callout(kind, text)


def _splits_and_classes(board: Dashboard) -> None:
    facts, page = board.facts, board.page
    names = facts.split_names
    counts = [
        int((facts.rows["split"].isna() if name is None else facts.rows["split"] == name).sum()) for name in names
    ]
    total = max(sum(counts), 1)
    told = ", ".join(f"{plots.split_name(name)} {number(count)}" for name, count in zip(names, counts, strict=True))
    page.section("Splits and classes", "splits")
    if facts.splits is not None:
        page.text("Counted here are distinct images in the new split; files that repeat another one count once.")
    elif names == [None]:
        page.text("The source gives no splits: all images stand together here. The split step makes them.")
    else:
        page.text("Counted here are files, in the splits that the source gives.")
    largest = int(np.argmax(counts))
    board.chart("images_per_split", plots.images_per_split(facts),
                f"Images per split: {plots.split_name(names[largest])} holds {percent(counts[largest] / total)}",
                f"Bars: {told}")  # fmt: skip
    board.chart("split_shares", plots.split_pie(facts), "Share of all images in each split", f"Ring: {told}")
    if facts.classes:
        board.chart("population", plots.population(facts), f"Population: {_spread(facts)}",
                    "One bar of 100 % a split, cut by class; the table below has the numbers")  # fmt: skip
        shown = _shown(facts, plots.MAX_CLASSES)
        board.chart("classes_per_split", plots.classes_per_split(facts), f"Images of each class, by split{shown}",
                    "Bars by class and split; the table below has the numbers")  # fmt: skip
    _class_table(board)


def _class_table(board: Dashboard) -> None:
    facts, page = board.facts, board.page
    classes = plots.shown_classes(facts, MAX_CLASSES_IN_TABLE)
    counts = cross(facts.rows, classes, facts.split_names)
    rows: list[list[Any]] = []
    for position, label in enumerate(classes):
        of = counts[:, position]
        rows.append([plots.class_name(label), *of.tolist(), int(of.sum()), percent(of.sum() / max(len(facts.rows), 1))])
    heads = ["class", *(plots.split_name(name) for name in facts.split_names), "all", "share"]
    page.table(
        heads,
        rows,
        title=f"{facts.noun.capitalize()}s by class and split{_shown(facts, MAX_CLASSES_IN_TABLE)}",
        colors=[facts.colors[c] for c in classes],
    )


def _before_and_after(board: Dashboard) -> None:
    facts, page = board.facts, board.page
    assert facts.splits is not None
    page.section("Before and after the split", "before-after")
    page.text("Counted are distinct images. A group, and images that repeat each other, always stay in one split.")
    board.chart("before_after", split_plots.before_and_after(facts), "Images and classes, as given and after the split",
                "Two charts of bars by split, cut by class", half=False)  # fmt: skip
    board.chart("where_images_went", split_plots.where_images_went(facts), "Where the images of each given split went",
                "A table: given splits in rows, new splits in columns")  # fmt: skip
    reasons = facts.splits["reason"].dropna().value_counts()
    balance = train_balance(facts.splits)
    if len(balance):
        board.chart("train_balance", split_plots.train_balance(facts, balance),
                    "Train's classes before and after rebalancing", "Bars of 100 %; numbers below")  # fmt: skip
        page.table(
            ["class", "before", "after", "seen an epoch", "mean weight", "share of the loss"],
            [
                [str(label), int(row["before"]), int(row["after"]), int(row["seen"]), f"{row['weight']:.3f}",
                 percent(row["loss"] / max(balance["loss"].sum(), 1e-12))]
                for label, row in balance.head(MAX_CLASSES_IN_TABLE).iterrows()
            ],
            title=f"Rebalancing touches {TRAIN} alone; val and test keep their natural shares",
            colors=[facts.colors[str(label)] for label in balance.head(MAX_CLASSES_IN_TABLE).index],
        )  # fmt: skip
    if len(reasons):
        left_out = [[str(name), int(count)] for name, count in reasons.items()]
        page.table(["left out because", "distinct images"], left_out, title="In no split, and why")


def _samples(board: Dashboard, classes: plots.Classes) -> None:
    facts, page = board.facts, board.page
    pictures = samples(facts, board.reader, classes, board.seed)
    page.section(f"Samples of each class{_shown(facts, plots.MAX_CLASSES)}", "samples")
    page.text(
        f"Up to {SAMPLES_PER_CLASS} images a class, drawn by the hash of their content and the seed {board.seed}."
    )
    for label, found in pictures.items():
        count = int((facts.usable["label"].isna() if label is None else facts.usable["label"] == label).sum())
        page.gallery(f"{plots.class_name(label)}: {plural(count, 'image')}", found, color=facts.colors[label])
    if not pictures:
        page.callout("warning", "None of the chosen images could be read.")
        return
    figure = new_figure(9.6, 1.2 * len(pictures) + 0.2)
    axes = figure.subplots()
    sheet = contact_sheet(pictures)
    axes.imshow(sheet)
    step = sheet.shape[0] / len(pictures)
    axes.set_yticks(
        [step * (row + 0.5) for row in range(len(pictures))], [plain(plots.class_name(c), 24) for c in pictures]
    )
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    board.files["samples.png"] = png(figure, title="Samples of each class")


def _sizes(board: Dashboard) -> None:
    facts, page = board.facts, board.page
    rows = facts.usable.dropna(subset=["width", "height"])
    page.section("Heights and widths", "sizes")
    if not len(rows):
        page.text("No image tells its size.")
        return
    widths, heights = rows["width"].to_numpy(int), rows["height"].to_numpy(int)
    sizes = rows.groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")
    if len(sizes) == 1:
        page.text(f"Every image is {number(int(widths[0]))} × {number(int(heights[0]))} pixels.")
    else:
        span = " and ".join(f"{number(side.min())} to {number(side.max())}" for side in (widths, heights))
        board.chart("widths_heights", plots.widths_and_heights(facts), f"Width and height: {span} pixels",
                    f"A dot an image; {span} pixels")  # fmt: skip
        board.chart("size_histograms", plots.size_histograms(facts), "Widths and heights of each class",
                    f"Histograms by class; {span} pixels")  # fmt: skip
    page.table(
        ["", "smallest", "median", "largest"],
        [
            [name, int(values.min()), int(np.median(values)), int(values.max())]
            for name, values in (("width, pixels", widths), ("height, pixels", heights),
                                 ("file, bytes", rows["size_bytes"].to_numpy(int)))
        ],
    )  # fmt: skip
    kinds = rows.groupby(["format", "mode"]).size().sort_values(ascending=False, kind="stable")
    page.table(["format", "mode", "images"], [[*np.array(key), int(count)] for key, count in kinds.head(12).items()],
               title="File formats and pixel modes")  # fmt: skip


def _intensity(board: Dashboard, found: Histograms) -> None:
    facts, page = board.facts, board.page
    page.section("Pixel intensity", "intensity")
    page.text(
        f"Intensity is the luma, from 0 (black) to 255 (white). The curves come from {plural(found.images, 'image')} "
        "drawn by hash, each shrunk to one size; everything else from all images."
    )
    draw: list[tuple[str, Callable[[], Figure], str]] = []
    if found.splits:
        draw.append(
            ("pixel_intensity", lambda: plots.pixel_intensity(found, facts, by="split"), "Pixel intensity by split")
        )
    if found.classes and facts.classes:
        draw.append(
            (
                "pixel_intensity_by_class",
                lambda: plots.pixel_intensity(found, facts, by="class"),
                "Pixel intensity by class",
            )
        )
    for name, make, title in draw:
        board.chart(name, make(), title, f"{title}: a curve each, the share of pixels at each gray level")
    numbers = per_split(facts)
    if not numbers:
        return
    board.chart("intensity_statistics", plots.intensity_statistics(facts),
                "Mean, spread, minimum and maximum of each image, by split: boxes hold half of the images",
                "Four charts of boxes by split; the table below has the numbers", half=False)  # fmt: skip
    page.table(
        ["split", "mean", "standard deviation", "minimum", "maximum"],
        [
            [plots.split_name(name), *(f"{told[key]['mean']:.1f}" for key in ("mean", "std", "min", "max"))]
            for name, told in numbers
        ],
        title="Averages over the images of each split",
        colors=[split_color(name) for name, _ in numbers],
    )
    for column, name, title in (
        ("mean", "mean", "How bright the images of each class are"),
        ("std", "standard deviation", "How much contrast the images of each class have"),
    ):
        board.chart(f"{column}_intensity", plots.intensity_of_images(facts, column, name), title,
                    f"Histograms of the {name} of an image's intensity, by class")  # fmt: skip
    if facts.classes and len(found.averages) > 0:
        means = {label: np.rint(pixels).astype(np.uint8) for label, pixels in found.averages.items()}
        pictures = [(encode_jpeg(pixels), plots.class_name(label)) for label, pixels in means.items()]
        page.gallery("The average image of each class", pictures)


def _spread(facts: Facts) -> str:
    """How far the share of the largest class differs between the splits."""
    label = facts.classes[0]
    rows = [of_split(facts.rows, split) for split in facts.compared]
    shares = [float((of["label"] == label).mean()) for of in rows if len(of)]
    if not shares:
        return "no split holds an image"
    low, high = (f"{share * 100:.0f}" for share in (min(shares), max(shares)))
    span = low if low == high else f"{low} to {high}"
    return f"{label[:24]} is {span} % of {'a split' if len(shares) > 1 else 'all'}"


def _shown(facts: Facts, limit: int) -> str:
    """Says so where not all classes are shown."""
    return f": the {limit} largest of {number(len(facts.classes))} classes" if len(facts.classes) > limit else ""


def _names(names: list[str]) -> str:
    shown = ", ".join(name[:24] for name in names[:3])
    return f"{shown}, and {number(len(names) - 3)} more" if len(names) > 3 else shown
