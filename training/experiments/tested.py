"""What the models of folds said of images that they had not seen: measured, by slice, and where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from darkroom.package import PackageInfo
from darkroom.storage import Storage
from training.comparing.measured import Answered, Measured, measure_part
from training.comparing.mistakes import MOST, Mistake
from training.comparing.slices import Slices, image_slices, slices_on
from training.deciding.scoring import image_rows
from training.experiments.fitting import read_predictions
from training.policy import gate_policy

ALL_FOLDS = "all folds"  # what stands for the part of a split where all of them are taken together


@dataclass(frozen=True)
class Tested:
    """Answers about the test part of one fold, or of all folds together; ``mistakes``: the surest first."""

    measured: Measured
    slices: Slices
    mistakes: Sequence[Mistake]


def read_answers(lake: Storage, path: str, number: int, fold: pa.Table, units: pa.Table) -> pa.Table:
    """A fold's predictions (``read_predictions``) with path, unit and fold, which is ``number``.

    ``fold`` and ``units`` are those of ``training.experiments.folds.read_folds``.
    """
    found = read_predictions(lake, path)
    for name, table in (("path", fold), ("unit", units)):
        known = dict(zip(table["content_id"].to_pylist(), table[name].to_pylist(), strict=True))
        found = found.append_column(name, pa.array([known[key] for key in found["content_id"].to_pylist()]))
    return found.append_column("fold", pa.array([number] * found.num_rows, pa.int32()))


def tested_on(lake: Storage, task: Mapping[str, Any], part: str, answers: pa.Table, info: PackageInfo) -> Tested:
    """``answers``: at least one row of ``read_answers``; ``part`` is what the page calls these images."""
    index = {name: k for k, name in enumerate(info.classes)}
    truth, labels = (
        np.array([index[name] for name in answers[column].to_pylist()], dtype=np.int64)
        for column in ("truth", "predicted")
    )
    told = Answered(info, np.array(answers["probabilities"].to_pylist(), dtype=np.float64), labels)
    (measured,) = measure_part(part, truth, answers["unit"].to_numpy(), {info.config: told})
    kinds = image_slices(image_rows(lake, task, answers["content_id"].to_pylist()))
    slices = slices_on(measured, kinds, gate_policy().slice_min_images)
    return Tested(measured, slices, _mistakes(answers, told))


def together(infos: Sequence[PackageInfo]) -> PackageInfo:
    """What can be said of the models of all folds: no one temperature and threshold made their answers."""
    return infos[0].model_copy(update={"temperature": 1.0, "threshold": None, "notes": ()})


def _mistakes(answers: pa.Table, told: Answered) -> list[Mistake]:
    """Each fold kept pictures of its own worst ones; of several folds the worst are among these."""
    pictures = answers["picture"].to_pylist()
    kept = np.array([row for row, picture in enumerate(pictures) if picture is not None], dtype=np.int64)
    worst = kept[np.argsort(-told.scores[kept], kind="stable")][:MOST]
    rows = answers.take(pa.array(worst)).to_pylist()
    return [
        Mistake(row["content_id"], row["path"], row["truth"], row["predicted"], score, row["picture"])
        for row, score in zip(rows, told.scores[worst].tolist(), strict=True)
    ]
