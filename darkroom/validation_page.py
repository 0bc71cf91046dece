"""The page of a validation: every expectation with what was observed, the failing ones first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from darkroom.expectations import FRAMES, Expected
from darkroom.html import Page, number, percent, plural


@dataclass(frozen=True)
class Verdict:
    """One expectation and what came of it, in words."""

    name: str
    frame: str
    met: bool
    observed: str
    threshold: str
    offending: tuple[dict[str, Any], ...] = ()
    error: str = ""  # why it could not be checked

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "offending": [dict(row) for row in self.offending]}


def judge(expected: Expected, result: dict[str, Any]) -> Verdict:
    """The verdict on one expectation from its Great Expectations result (``to_json_dict`` of it)."""
    error = _error(result.get("exception_info") or {})
    details = result.get("result") or {}
    rows = tuple(details.get("partial_unexpected_index_list") or ())
    met = bool(result["success"]) and not error
    observed = f"could not be checked: {error}" if error else _observed(expected, details, rows, met)
    return Verdict(expected.name, expected.frame, met, observed, threshold_text(expected.kwargs), rows, error)


def threshold_text(kwargs: dict[str, Any]) -> str:
    """What an expectation's arguments ask for, in words."""
    low, high, column = kwargs.get("min_value"), kwargs.get("max_value"), kwargs.get("column")
    of = f"{column}: " if column else ""
    if low is not None and low == high:
        return f"{of}{number(low)}"
    if low is not None and high is not None:
        return f"{of}{number(low)} to {number(high)}"
    if low is not None:
        return f"{of}{'more than' if kwargs.get('strict_min') else 'at least'} {number(low)}"
    if high is not None:
        return f"{of}at most {number(high)}"
    for name in ("value_set", "column_set"):
        if name in kwargs:
            return f"{of}{_listed(kwargs[name], 25)}"
    return f"{of}{kwargs['regex']}" if "regex" in kwargs else of.removesuffix(": ") or "–"


def build_page(dataset: str, version: str, split_id: str, verdicts: list[Verdict], counts: dict[str, Any]) -> str:
    """The whole page, self-contained HTML. ``counts``: images by split and class, from the split's summary."""
    failed = [verdict for verdict in verdicts if not verdict.met]
    page = Page(f"Validation of {dataset}", f"version {version}, split {split_id}")
    if failed:
        page.callout(
            "problem", f"{plural(len(failed), 'expectation')} of {len(verdicts):,} not met. The run stops here."
        )
    else:
        page.callout("good", f"All {plural(len(verdicts), 'expectation')} are met.")
    page.tiles(
        [
            ("Expectations", len(verdicts), "checked with Great Expectations on Spark"),
            ("Not met", len(failed), ""),
            ("Met", percent((len(verdicts) - len(failed)) / len(verdicts), 0) if verdicts else "–", ""),
        ]
    )
    if failed:
        page.section("Not met")
        for verdict in failed:
            _failure(page, verdict)
    page.section("All expectations")
    for frame in dict.fromkeys(verdict.frame for verdict in [*failed, *verdicts]):
        here = sorted((one for one in verdicts if one.frame == frame), key=lambda one: one.met)
        page.heading(f"{frame.replace('_', ' ').capitalize()}: {FRAMES[frame]}")
        page.table(["verdict", "expectation", "observed", "threshold"], [_row(verdict) for verdict in here])
    if counts:
        page.section("Images in the split")
        classes = sorted({label for by_class in counts.values() for label in by_class})
        rows = [[split, *(by_class.get(label, 0) for label in classes)] for split, by_class in counts.items()]
        page.table(["split", *classes], rows)
    return page.render()


def failure_sentence(verdicts: list[Verdict], page: str) -> str:
    """The message of the error: the first failing expectation, what was observed and expected, and the page."""
    failed = [verdict for verdict in verdicts if not verdict.met]
    first = failed[0]
    others = f" {plural(len(failed) - 1, 'more expectation')} failed." if len(failed) > 1 else ""
    return (
        f"Validation failed: {first.name!r} is not met: observed {first.observed}; expected {first.threshold}.{others} "
        f"Look at the page {page}, then correct the source or the options."
    )


def _failure(page: Page, verdict: Verdict) -> None:
    page.heading(verdict.name)
    page.facts([("Observed", verdict.observed), ("Expected", verdict.threshold), ("In", FRAMES[verdict.frame])])
    if verdict.offending:
        columns = list(dict.fromkeys(column for row in verdict.offending for column in row))
        rows = [[row.get(column) for column in columns] for row in verdict.offending]
        page.table(columns, rows, title=f"The first {plural(len(rows), 'offending row')}")


def _row(verdict: Verdict) -> list[str]:
    return ["met" if verdict.met else "NOT MET", verdict.name, verdict.observed, verdict.threshold]


def _observed(expected: Expected, details: dict[str, Any], rows: tuple[dict[str, Any], ...], met: bool) -> str:
    if expected.is_by_row:
        if met:
            return "every row"
        bad, total = details["unexpected_count"], details["element_count"]
        shown = [_shown_row(row) for row in rows[:3]] or [
            str(v) for v in details.get("partial_unexpected_list", [])[:3]
        ]
        return f"{bad:,} of {plural(total, 'row')} not so, such as {_listed(shown, 3)}"
    value = details.get("observed_value")
    wanted = next((expected.kwargs[name] for name in ("value_set", "column_set") if name in expected.kwargs), None)
    if wanted is not None:
        if met:
            return "these"
        return _difference(wanted, value, details)
    return number(value) if isinstance(value, int | float) else str(value)


def _difference(wanted: list[Any], value: Any, details: dict[str, Any]) -> str:
    if isinstance(value, list):
        extra, missing = [one for one in value if one not in wanted], [one for one in wanted if one not in value]
    else:
        extra, missing = details.get("partial_unexpected_list") or [], details.get("partial_missing_list") or []
    told = [f"also {one}" for one in extra] + [f"no {one}" for one in missing]
    return _listed(told, 10) if told else "not all of these"


def _shown_row(row: dict[str, Any]) -> str:
    return "(" + ", ".join(f"{key} {value}" for key, value in row.items()) + ")"


def _listed(values: Any, most: int) -> str:
    listed = [str(value) for value in values]
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more if listed else "nothing"


def _error(info: dict[str, Any]) -> str:
    """The first line of what Great Expectations raised; it reports either one error or one for each metric."""
    entries = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("raised_exception"):
            return next(iter(str(entry.get("exception_message") or "unknown error").splitlines()), "unknown error")
    return ""
