"""What the pages of a comparison, of one config, and of folds show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darkroom.figures import svg
from darkroom.html import Page, number, plural
from darkroom.metrics import METRIC_NAMES
from darkroom.palette import class_colors
from training.comparing.comparison import Entry
from training.comparing.curves import pr_figure, reliability_figure, roc_figure
from training.comparing.differences import Compared
from training.comparing.explained import SAMPLE
from training.comparing.measured import Measured
from training.comparing.mistakes import MOST, Mistake
from training.comparing.plots import confusion_figure
from training.comparing.slices import Slices

SLICES_SHOWN = 20


def reach(bounds: Sequence[float] | None) -> str | None:
    """An interval as text."""
    return None if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def headline_tiles(page: Page, measured: Measured, metric: str) -> None:
    """The figures of one model at the head of its page."""
    part, bounds = measured.part, reach(measured.intervals[metric])
    area, area_bounds = measured.metrics["roc_auc"], reach(measured.intervals["roc_auc"])
    page.tiles(
        [
            (
                METRIC_NAMES[metric],
                number(measured.metrics[metric]),
                f"on {part}, {bounds}" if bounds else f"on {part}",
            ),
            ("ROC area", number(area), area_bounds or "no interval"),
            ("calibration error", number(measured.metrics["ece"]), "0 is perfect"),
            ("test images", measured.metrics["count"], f"in {plural(len(measured.info.classes), 'class', 'classes')}"),
        ]
    )


def undefined_part(page: Page, measured: Measured) -> None:
    """Which metrics are not defined, and why."""
    for reason in sorted(f"{name}: {why}" for name, why in measured.metrics["undefined"].items()):
        page.callout("note", f"Not defined on {measured.part}: {reason}.")


def interval_table(page: Page, rows: Mapping[str, Measured], title: str, *, folded: bool) -> None:
    """Every headline metric of each row with its interval."""
    cells = [
        [name, *[with_interval(one, metric) for metric in METRIC_NAMES], one.metrics["count"]]
        for name, one in rows.items()
    ]
    page.table(["", *METRIC_NAMES.values(), "images"], cells, title=title, folded=folded)


def with_interval(measured: Measured, metric: str) -> str | None:
    """A metric and its interval as text."""
    value, bounds = measured.metrics[metric], measured.intervals[metric]
    if value is None:
        return None
    return f"{value:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")


def metrics_of_parts(page: Page, *measured: Measured) -> None:
    """Every headline metric of one config, a column a part."""
    rows = [[told, *[with_interval(one, metric) for one in measured]] for metric, told in METRIC_NAMES.items()]
    rows.append(["images", *[f"{one.metrics['count']:,}" for one in measured]])
    page.table(["metric (95 % interval)", *[one.part for one in measured]], rows)


def class_table(page: Page, rows: Mapping[str, Measured], *, folded: bool) -> None:
    """Recall and precision of each class."""
    classes = next(iter(rows.values())).info.classes
    colors = class_colors(classes)
    cells = [
        [label, name, m.metrics["recall"][label], m.metrics["precision"][label], m.metrics["support"][label]]
        for label in classes
        for name, m in rows.items()
    ]
    marks = [colors[label] for label in classes for _ in rows]
    headers = ["class", "config", "recall", "precision", "images"]
    page.table(headers, cells, title="By class", folded=folded, colors=marks)


def curves(page: Page, measured: Sequence[Measured], part: str) -> None:
    """ROC and precision-recall curves, side by side."""
    told = {one.config: (one.truth, one.probabilities) for one in measured}
    info = measured[0].info
    of = f"of {info.positive_class}" if info.positive_class else "mean of all classes"
    names = ", ".join(told)
    chart = roc_figure(told, info.classes, info.positive_class)
    page.figure(svg(chart), f"ROC on {part}, {of}", f"ROC curves of {names}", half=True)
    chart = pr_figure(told, info.classes, info.positive_class)
    page.figure(svg(chart), f"Precision and recall on {part}, {of}", f"Curves of {names}", half=True)


def confusion_part(page: Page, measured: Measured) -> None:
    chart = confusion_figure(measured.metrics["confusion"], measured.info.classes)
    page.figure(svg(chart), f"{measured.config}: true against predicted", _confusion_alt(measured), half=True)


def reliability_part(page: Page, measured: Measured) -> None:
    chart = reliability_figure(measured.answers.scores, measured.labels == measured.truth)
    title = f"{measured.config} on {measured.part}: how right where how sure"
    page.figure(svg(chart), title, _reliability_alt(measured), half=True)


def drawn_part(page: Page, measured: Measured, pictures: Mapping[str, bytes]) -> None:
    """The four charts of one config that were drawn for MLflow (``training.packaging.figures_of``)."""
    part = measured.part
    page.figure(pictures[f"roc_{part}.png"], "How well it ranks", "ROC curve", half=True)
    page.figure(pictures[f"pr_{part}.png"], "What a higher recall costs", "Precision-recall curve", half=True)
    page.figure(pictures[f"confusion_{part}.png"], "What it takes for what", _confusion_alt(measured), half=True)
    page.figure(pictures[f"reliability_{part}.png"], "How right where how sure", _reliability_alt(measured), half=True)


def _confusion_alt(measured: Measured) -> str:
    return f"Confusion matrix, rows true: {measured.metrics['confusion']}"


def _reliability_alt(measured: Measured) -> str:
    return f"Reliability diagram, calibration error {number(measured.metrics['ece'])}"


def choices_part(page: Page, *measured: Measured) -> None:
    """What was chosen on val, and what the temperature did on each part."""
    page.bullets(measured[0].info.notes)
    rows = [
        [one.part, *[one.metrics[name] for name in ("ece_before", "ece", "log_loss_before", "log_loss")]]
        for one in measured
    ]
    headers = ["part", "calibration error before", "after", "log loss before", "after"]
    page.table(headers, rows, title="What the temperature did")


def answers_sections(page: Page, entry: Entry, whose: str) -> None:
    """Where one config is right and wrong, and what of the images it goes by."""
    page.section(f"Slices of {whose}")
    slices_part(page, entry.test, entry.slices, "They are in comparison.json.")
    page.section(f"Misclassified by {whose}")
    mistakes_part(page, entry.test, entry.mistakes)
    page.section(f"What answers of {whose} rest on")
    _explained(page, entry)


def slices_part(page: Page, measured: Measured, slices: Slices, others: str = "") -> None:
    """Accuracy by slice, worst first; ``others`` says where those are that are not shown."""
    whole = measured.metrics["accuracy"]
    page.text(
        f"Share of right answers among test images that have something in common, the worst first; over all images "
        f"it is {number(whole)}. Looking at many slices, a few are low by chance: go by the intervals."
    )
    found = slices.found
    rows = [
        [s.kind, s.value, s.accuracy, reach((s.low, s.high)), s.balanced_accuracy, s.images, s.groups]
        for s in found[:SLICES_SHOWN]
    ]
    if rows:
        headers = ["slice", "value", "accuracy", "95 % interval", "balanced accuracy", "images", "groups"]
        page.table(headers, rows)
    if len(found) > SLICES_SHOWN:
        page.text(f"The other {len(found) - SLICES_SHOWN} slices are better. {others}")
    page.bullets(slices.notes)


def mistakes_part(page: Page, measured: Measured, mistakes: Sequence[Mistake]) -> None:
    """The pictures that were called wrong with the most confidence."""
    config, images = measured.config, len(measured.truth)
    wrong = int((measured.labels != measured.truth).sum())
    if not mistakes:
        page.text(f"{config} made no mistake on the {plural(images, 'test image')}.")
        return
    shown = f"the {MOST} it was surest of" if wrong > len(mistakes) else "all of them"
    page.text(
        f"{config} has {wrong:,} of {images:,} test images wrong. These are {shown}, as the model "
        "saw them: what it said and how sure it was, what the label is, and the file. A label may be wrong, too."
    )
    page.gallery("Most confidently wrong", [(one.picture, one.caption) for one in mistakes])


def difference_table(page: Page, compared: Sequence[Compared], title: str, *, folded: bool = False) -> None:
    """A row a rival and metric: the difference, its interval, p as it is and corrected, and the answer.

    A column that says the same in every row is left out: the title says it.
    """
    methods = [one.difference.method + _because(one.difference.reason) for one in compared]
    columns: dict[str, list[str | None]] = {
        "against": [one.rival for one in compared],
        "metric": [METRIC_NAMES[one.metric] for one in compared],
        "difference": [None if (d := one.difference).value is None else f"{d.value:+.3f}" for one in compared],
        "95 % interval": [
            None if (d := one.difference).low is None else f"{d.low:+.3f} to {d.high:+.3f}" for one in compared
        ],
        "p": [_p(one.difference.p) for one in compared],
        "p by Holm": [_p(one.p_holm) for one in compared],
        "real": [None if one.real is None else "yes" if one.real else "not shown" for one in compared],
        "method": list(methods),
    }
    alike = [name for name in ("against", "metric", "method") if len(set(columns[name])) == 1 and len(compared) > 1]
    if "method" in alike:
        title = f"{title} ({methods[0]})"
    if columns["p"] == columns["p by Holm"]:
        alike.append("p by Holm")
    kept = [name for name in columns if name not in alike]
    rows = list(zip(*(columns[name] for name in kept), strict=True))
    page.table(kept, rows, title=title, folded=folded)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _p(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.0e}"


def _explained(page: Page, entry: Entry) -> None:
    """Heat maps of right, wrong and unsure answers."""
    page.text(f"{entry.explained.method} The surer the orange, the more it speaks for what was said. {SAMPLE}")
    for group in dict.fromkeys(one.group for one in entry.explained.images):
        page.gallery(
            group.capitalize(), [(one.picture, one.caption) for one in entry.explained.images if one.group == group]
        )
