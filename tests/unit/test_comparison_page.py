"""The pages of a comparison: readable with twenty configs, and whole where little can be said."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.suites.answers import entry, measured
from training.comparing.comparison import AgainstChampion, Comparison, best_first
from training.comparing.comparison_page import comparison_page
from training.comparing.config_page import config_page
from training.comparing.differences import compare, who_won
from training.comparing.measured import Measured
from training.packaging import figures_of

pytestmark = pytest.mark.unit

PLAN = {"dataset": "lamps", "version": "v1", "split_id": "s1", "model": "lamps", "parent_run_id": "0", "links": {}}
PLAN |= {"primary_metric": "balanced_accuracy"}
TRUTH = np.arange(200) % 2


def comparison(found: list[Measured], champion: AgainstChampion | None = None) -> Comparison:
    entries = best_first([entry(one, 100.0 + 50 * k) for k, one in enumerate(found)], "balanced_accuracy")
    mine = found[0]
    compared = compare(mine, [one.test for one in entries if one.config != mine.config])
    sentence = who_won(mine.config, compared, "balanced_accuracy", len(mine.truth))
    return Comparison(PLAN, {"config": mine.config}, entries, compared, sentence, champion)


def it_stays_readable_with_twenty_configs() -> None:
    shares = {f"config_{k:02d}_{'x' * 40}": 0.95 - 0.02 * k for k in range(20)}
    found = comparison(measured(TRUTH, **shares))
    page = comparison_page(found)
    assert "The curves are those of the 5 best, the challenger among them." in page
    assert "The other 11 configs" in page
    assert len(page) < 400_000
    table = page[page.index("<h2>On test") :].partition("</table>")[0]
    assert re.findall(r"<tr><td>(?:<i[^>]*></i>)?(config_\w+)", table) == [one.config for one in found.entries]


def it_always_draws_the_challenger() -> None:
    shares = {"chosen": 0.6, **{f"better_{k}": 0.9 for k in range(7)}}
    page = comparison_page(comparison(measured(TRUTH, **shares)))
    assert re.search(r"ROC curves of [^\"]*chosen", page)
    assert 'class="callout warning"' in page
    assert "chosen was best on val, but on test" in page


@pytest.mark.parametrize("truth", [np.ones(40, dtype=np.int64), np.array([0, 1, 1]), np.zeros(1, dtype=np.int64)])
def it_is_whole_where_little_can_be_said(truth: np.ndarray) -> None:
    found = comparison(measured(truth, cnn=1.0, svm=0.5), AgainstChampion("the champion, version 1", reason="lost."))
    page = comparison_page(found)
    json.dumps(found.as_dict(), allow_nan=False)
    one = found.best
    pictures = figures_of("test", one.test.info, one.test.metrics, one.test.truth, one.test.probabilities)
    alone = config_page(PLAN, one, pictures)
    for text in (page, alone):
        shown = re.sub(r"<(style|svg).*?</\1>|base64,[^\"]*", "", text, flags=re.DOTALL)
        assert not re.search(r"\bnan\b|\binf\b|None", shown)
    assert "Against the champion, version 1: lost." in page
    if len(np.unique(truth)) < 2:
        assert "Not defined on test" in page
    assert "made no mistake on test" in page
    assert "rule of three" in page


def it_needs_no_rival() -> None:
    page = comparison_page(comparison(measured(TRUTH, cnn=0.8)))
    assert "trained alone" in page


def it_escapes_what_data_and_people_name() -> None:
    (found,) = measured(TRUTH, cnn=0.8)
    evil = replace(found.answers, info=found.info.model_copy(update={"notes": ("<script>alert(1)</script>",)}))
    page = comparison_page(comparison([replace(found, answers=evil)]))
    assert "<script>" not in page
