"""The dashboard's sections on dirt: broken files, duplicates, leaks between splits, contradicting labels."""

from __future__ import annotations

from typing import Any

from darkroom.eda.pictures import Reader
from darkroom.eda.statistics import Facts
from darkroom.html import Page, number, plural

Files = dict[str, tuple[str, str | None, str | None]]

MAX_ROWS = 100
MAX_SHOWN_SETS = 6
_KINDS = {
    "empty": "the file has no bytes",
    "too_large": "more bytes than the limit",
    "too_many_pixels": "declares more pixels than the limit",
    "not_an_image": "not an image format that is known",
    "undecodable": "an image that cannot be decoded",
    "truncated": "the file ends before the image does",
}
_LEAKS = (
    ("identical", "identical files"),
    ("near_duplicates", "near duplicates"),
    ("groups", "groups"),
)


def problem_section(page: Page, facts: Facts) -> None:
    page.section("Broken files", "problems")
    if not facts.problems:
        page.text("Every file decodes.")
        return
    page.table(
        ["problem", "meaning", "files"],
        [[kind, _KINDS.get(kind, ""), count] for kind, count in facts.problems.items()],
        title="Files that cannot be used, by kind",
    )
    broken = facts.files[facts.files["problem"].notna()]
    page.table(
        ["path", "bytes", "problem"],
        broken[["path", "size_bytes", "problem"]].head(MAX_ROWS).values.tolist(),
        title=_shown("file", len(broken)),
        folded=len(broken) > 12,
    )


def duplicate_section(page: Page, facts: Facts, reader: Reader) -> None:
    exact, near = facts.duplicates["exact"], facts.duplicates["near"]
    page.section("Duplicates", "duplicates")
    if not exact["sets"] and not near["sets"]:
        page.text("No file repeats another one, exactly or nearly.")
        return
    page.table(
        ["kind", "sets", "files in them", "distinct images"],
        [
            ["identical, byte for byte", exact["sets"], exact["files"], exact["sets"]],
            ["near duplicates: look the same", near["sets"], near["files"], near["contents"]],
        ],
    )
    files = _by_path(facts)
    for told, title in ((exact, "identical files"), (near, "near duplicates")):
        if told["largest"]:
            page.table(
                ["files", "distinct images", "labels", "given splits", "first paths"],
                [
                    [one["files"], one["contents"], ", ".join(one["labels"]), ", ".join(one["splits"]),
                     ", ".join(one["paths"][:3])]
                    for one in told["largest"]
                ],
                title=f"The largest sets of {title}",
                folded=True,
            )  # fmt: skip
    for position, one in enumerate(near["largest"][:MAX_SHOWN_SETS], start=1):
        _show(page, reader, files, f"Near duplicates {position}: {plural(one['files'], 'file')}", one["distinct"][:4])


def leak_section(page: Page, facts: Facts, reader: Reader) -> None:
    page.section("Leaks between the given splits", "leaks")
    if not any(facts.leaks["given_splits"].values()):
        page.text("The source gives no splits, so nothing can leak between them.")
    else:
        _leak_table(page, facts.leaks, "Sets that lie in more than one given split")
        files = _by_path(facts)
        shown = 0
        for kind, title in _LEAKS[:2]:
            for example in facts.leaks[kind]["examples"][: MAX_SHOWN_SETS // 2]:
                shown += 1
                _show(page, reader, files, f"Leak {shown}: {title}", example["paths"][:4])
        for kind, title in _LEAKS:
            examples = facts.leaks[kind]["examples"]
            if examples:
                page.table(
                    ["set", "paths"],
                    [[_key(one["key"]), ", ".join(one["paths"][:4])] for one in examples],
                    title=f"Shared {title}, {_of(len(examples), facts.leaks[kind]['sets'])}",
                    folded=True,
                )
    if facts.leaks_after is not None:
        _leak_table(page, facts.leaks_after, "The same count for the new split")


def contradiction_section(page: Page, facts: Facts, reader: Reader) -> None:
    found = facts.contradictions
    page.section("Contradicting labels", "contradictions")
    if not found["contents"]:
        page.text("No image carries two labels.")
        return
    page.text(
        f"{plural(found['contents'], 'image')} in {plural(found['files'], 'file')}: the same bytes under different "
        "labels. No split takes them, since nobody knows which label is right."
    )
    files = _by_path(facts)
    for position, example in enumerate(found["examples"][:MAX_SHOWN_SETS], start=1):
        labels = sorted({str(file["label"]) for file in example})
        _show(
            page,
            reader,
            files,
            f"Contradiction {position}: {' or '.join(labels)}",
            [one["path"] for one in example[:4]],
        )
    page.table(
        ["path", "label"],
        [[file["path"], file["label"]] for example in found["examples"] for file in example],
        title=f"The files, {_of(len(found['examples']), found['contents'])}",
    )


def _leak_table(page: Page, leaks: dict[str, Any], title: str) -> None:
    rows = []
    for kind, name in _LEAKS:
        told = leaks[kind]
        rows.append([name, told["sets"], told["files"], *told["between"].values()])
    page.table(["what is shared", "sets", "files in them", *leaks["identical"]["between"]], rows, title=title)


def _show(page: Page, reader: Reader, files: Files, title: str, paths: list[str]) -> None:
    pictures = []
    for path in paths:
        uri, split, label = files[path]
        picture = reader.thumbnail(uri)
        if picture is not None:
            pictures.append((picture, ", ".join(part for part in (split, label, path.rpartition("/")[2]) if part)))
    if pictures:
        page.gallery(title, pictures, half=True)


def _by_path(facts: Facts) -> Files:
    """Of each file: uri, given split and label."""
    columns = facts.files[["path", "uri", "given_split", "label"]].itertuples(index=False)
    return {path: (uri, split, label) for path, uri, split, label in columns}


def _key(key: object) -> str:
    text = str(key)
    return f"{text[:12]}…" if len(text) == 64 else text


def _shown(noun: str, count: int) -> str:
    return f"The first {number(MAX_ROWS)} of {number(count)} {noun}s" if count > MAX_ROWS else plural(count, noun)


def _of(shown: int, count: int) -> str:
    return f"{number(shown)} of {number(count)}" if count > shown else f"all {number(count)}"
