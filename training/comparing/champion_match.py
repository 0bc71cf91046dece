"""The challenger against the champion on test, for the comparison; the gate decides by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darkroom import champions
from darkroom.errors import DataError, ModelError
from darkroom.model import load_package
from darkroom.storage import Storage
from training.comparing.comparison import AgainstChampion
from training.comparing.differences import compare, who_won
from training.comparing.measured import Answered, Measured, answered, measure_part
from training.deciding.scoring import predict_same, trained_on
from training.packaging import THREADS


def against_champion(
    lake: Storage, plan: Mapping[str, Any], challenger: Mapping[str, Any], test: Measured, content_ids: Sequence[str]
) -> AgainstChampion | None:
    """Every metric of the challenger minus the champion's, on the images that the champion was not trained on.

    None where there is no champion; where the two cannot be compared, the reason.
    """
    champion = champions.current(lake, plan["model"])
    if champion is None:
        return None
    name = f"the champion, version {champion.version}"
    if champion.package_id == challenger["package_id"]:
        return AgainstChampion(name, reason="it is this very package.")
    try:
        model = load_package(lake, champion.package, package_id=champion.package_id, threads=THREADS)
        seen = trained_on(lake, champion.dataset, champion.split_id)
        if model.classes != test.info.classes:
            classes = f"{', '.join(model.classes)}; the challenger has {', '.join(test.info.classes)}"
            return AgainstChampion(name, reason=f"it has the classes {classes}.")
        rival = answered(model.info, predict_same(lake, plan, model, content_ids))
    except (ModelError, DataError) as error:
        return AgainstChampion(name, reason=f"it could not be scored: {error.message}")
    keep = np.array([content_id not in seen for content_id in content_ids], dtype=bool)
    if not keep.any():
        return AgainstChampion(name, left_out=len(keep), reason="it was trained on every test image.")
    pair = {test.config: _some(test.answers, keep), name: _some(rival, keep)}
    mine, other = measure_part("test", test.truth[keep], test.groups[keep], pair)
    compared = compare(mine, [other])
    images = int(keep.sum())
    sentence = who_won(test.config, compared, plan["primary_metric"], images)
    return AgainstChampion(name, images, len(keep) - images, compared, sentence)


def _some(answers: Answered, keep: np.ndarray) -> Answered:
    return Answered(answers.info, answers.probabilities[keep], answers.labels[keep])
