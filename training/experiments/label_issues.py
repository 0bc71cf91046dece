"""Labels that are probably wrong: confident learning over what k-fold models say of images they have not seen.

Northcutt, Jiang and Chuang 2021 (doi 10.1613/jair.1.12125), as cleanlab has it. No label is ever changed: a table and a
page name the images, and a person who agrees sends the correction as feedback (docs/feedback.md).
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.contract import feedback_folder, images_table
from darkroom.eda.pictures import Reader
from darkroom.html import Page, percent, plural
from darkroom.palette import class_colors
from darkroom.reader import ImageReader
from darkroom.storage import Storage
from darkroom.tables import Table

log = logging.getLogger(__name__)

SHOWN = 60  # pictures on the page


def find_label_issues(predictions: pa.Table, classes: Sequence[str]) -> pa.Table:
    """``predictions`` with given, suggested, quality and issue: a row an image, the least believable first.

    ``predictions``: content_id, path, fold, truth, probabilities (float64[classes], of a model that has not seen the
    image). ``quality`` is the probability of the given label; ``issue`` says whether confident learning ("prune by
    noise rate") holds the label for wrong, and ``suggested`` is what the model says instead. A label that the model
    agrees with is never an issue.
    """
    from cleanlab.filter import find_label_issues as cleanlab_issues
    from cleanlab.rank import get_label_quality_scores

    index = {name: k for k, name in enumerate(classes)}
    given = np.array([index[label] for label in predictions["truth"].to_pylist()], dtype=np.int64)
    probabilities = np.array(predictions["probabilities"].to_pylist(), dtype=np.float64)
    said = probabilities.argmax(axis=1)
    wrong = cleanlab_issues(given, probabilities, n_jobs=1) & (said != given)
    quality = get_label_quality_scores(given, probabilities)
    names = np.array(classes, dtype=object)
    found = pa.table(
        {
            "content_id": predictions["content_id"],
            "path": predictions["path"],
            "fold": predictions["fold"],
            "given": names[given].tolist(),
            "suggested": names[said].tolist(),
            "quality": quality,
            "issue": wrong,
            "probabilities": predictions["probabilities"],
        }
    )
    return found.sort_by([("issue", "descending"), ("quality", "ascending"), ("content_id", "ascending")])


def report_label_issues(
    lake: Storage, task: Mapping[str, Any], classes: Sequence[str], predictions: pa.Table, folder: str
) -> dict[str, Any]:
    """Writes the page, the table of all images (Parquet) and that of the issues (CSV) into ``folder``.

    Returns {"count", "page", "table"}.
    """
    found = find_label_issues(predictions, classes)
    issues = found.filter(found["issue"])
    page, table = f"{folder}/label-issues.html", f"{folder}/label-issues.csv"
    sink = io.BytesIO()
    pq.write_table(found, sink, compression="zstd")
    lake.write(f"{folder}/label-quality.parquet", sink.getvalue())
    lake.write(table, issues_csv(issues, classes).encode())
    pictures = _pictures(lake, task, issues.slice(0, SHOWN))
    lake.write(page, issues_page(task, classes, found, pictures).encode())
    log.info("Labels that are probably wrong: %s of %s, see %s", f"{issues.num_rows:,}", f"{found.num_rows:,}", page)
    return {"count": issues.num_rows, "page": page, "table": table}


def issues_csv(issues: pa.Table, classes: Sequence[str]) -> str:
    """The issues as feedback that a person completes: ``label`` is the suggestion, author and at are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["image_id", "label", "author", "at", "given", "quality", "path", *[f"p_{name}" for name in classes]]
    )
    for row in issues.to_pylist():
        numbers = [f"{value:.4f}" for value in (row["quality"], *row["probabilities"])]
        writer.writerow(
            [row["content_id"], row["suggested"], "", "", row["given"], numbers[0], row["path"], *numbers[1:]]
        )
    return out.getvalue()


def issues_page(
    task: Mapping[str, Any], classes: Sequence[str], found: pa.Table, pictures: Mapping[str, bytes | None]
) -> str:
    """The page for people; ``pictures`` are thumbnails (JPEG) by content_id."""
    issues = found.filter(found["issue"]).to_pylist()
    page = Page("Labels that are probably wrong", f"{task['dataset']}, config {task['name']}, split {task['split_id']}")
    page.tiles(
        [
            ("images", found.num_rows, "each judged by a model that has not seen it"),
            ("probably wrong", len(issues), percent(len(issues) / max(found.num_rows, 1)) + " of all"),
        ]
    )
    page.text(
        "Confident learning compares each label with what the models of the other folds say. It errs: images that are "
        "hard, or unlike all others, are named too. Nothing was changed. Look, and decide."
    )
    if not issues:
        page.callout("good", "No label stands out.")
        return page.render()
    colors = class_colors(classes)
    page.section("How many")
    pairs: dict[tuple[str, str], int] = {}
    labels = found["given"].to_pylist()
    for row in issues:
        pairs[row["given"], row["suggested"]] = pairs.get((row["given"], row["suggested"]), 0) + 1
    rows = [[*pair, count, percent(count / labels.count(pair[0]))] for pair, count in sorted(pairs.items())]
    heads = ["given label", "the models say", "images", "share of the given class"]
    page.table(heads, rows, colors=[colors[str(row[0])] for row in rows])
    page.section("Pictures").text(f"The least believable first; at most {SHOWN} are shown.")
    for given in classes:
        shown = [row for row in issues if row["given"] == given and pictures.get(row["content_id"])]
        if shown:
            cells = [(pictures[row["content_id"]] or b"", _caption(row)) for row in shown]
            page.gallery(f"Given: {given}", cells, color=colors[given])
    if unreadable := sum(1 for data in pictures.values() if data is None):
        page.callout("warning", f"{plural(unreadable, 'picture')} could not be read and cannot be shown.")
    page.section("All of them")
    table = [[row["path"], row["given"], row["suggested"], row["quality"], row["content_id"]] for row in issues]
    heads = ["path", "given label", "the models say", "quality", "image_id"]
    page.table(heads, table, title=f"{plural(len(issues), 'image')}; the same as label-issues.csv", folded=True)
    page.section("What to do").bullets(
        [
            "Take label-issues.csv, which lies beside this page, and delete every row that you do not agree with.",
            "Fill in author (you) and at (when, such as 2026-03-01T12:00:00Z). Rows without them are refused.",
            f"Put the file into {feedback_folder(task['dataset'])}/ on the lake. It is checked, waits for a person who "
            "accepts it, and joins the next version of the dataset.",
            f"One image by command: darkroom feedback add {task['dataset']} IMAGE_ID LABEL --author YOU",
        ]
    )
    return page.render()


def _caption(row: Mapping[str, Any]) -> str:
    name = row["path"].rpartition("/")[2]
    return f"{row['given']}, or {row['suggested']}? Quality {row['quality']:.3f}. {name}"


def _pictures(lake: Storage, task: Mapping[str, Any], issues: pa.Table) -> dict[str, bytes | None]:
    manifest = Table(lake, images_table(task["dataset"])).read(
        {"version": task["version"]}, columns=["content_id", "uri"]
    )
    uris = dict(zip(manifest["content_id"].to_pylist(), manifest["uri"].to_pylist(), strict=True))
    content_of = {uri: content_id for content_id, uri in uris.items()}
    images = ImageReader(lake)
    reader = Reader(lambda uri: images.read(uri, content_of[uri]))
    return {content_id: reader.thumbnail(uris[content_id]) for content_id in issues["content_id"].to_pylist()}
