"""Which config won, and what may be said of it: sentences, slices, mistakes and the front, on made-up answers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from darkroom.statistics import holm
from tests.packages import package_info
from tests.suites.answers import answers, entry, measured
from training.comparing.comparison import best_first, pareto_front
from training.comparing.differences import compare, who_won
from training.comparing.measured import Measured, answered, measure_part
from training.comparing.mistakes import thumbnail, worst_mistakes
from training.comparing.slices import group_sizes, share_interval, slices_on
from training.data import Examples

pytestmark = pytest.mark.unit


def sentence(found: list[Measured], metric: str = "balanced_accuracy") -> str:
    mine, *rivals = found
    return who_won(mine.config, compare(mine, rivals), metric, len(mine.truth))


TRUTH = np.arange(400) % 2


def it_says_that_a_clear_winner_won() -> None:
    told = sentence(measured(TRUTH, cnn=0.95, svm=0.80, forest=0.6))
    assert told.startswith("cnn won: its balanced accuracy on test is 0.1")
    assert "above that of svm, the next best (400 images)" in told
    assert "The difference is real at 95 % (p < 0.001, counted as one of 2 comparisons; randomisation)" in told


def it_does_not_call_luck_a_win() -> None:
    told = sentence(measured(TRUTH[:60], cnn=0.82, svm=0.80))
    assert "The two cannot be told apart at 95 %" in told
    grouped = sentence(measured(TRUTH, np.arange(400) // 80, cnn=0.9, svm=0.75))
    assert "cannot be told apart" in grouped
    assert "by group" in grouped


def it_admits_that_another_config_is_ahead_on_test() -> None:
    told = sentence(measured(TRUTH, cnn=0.75, svm=0.95))
    assert told.startswith("cnn was best on val, but on test svm is 0.")
    assert "The difference is real" in told


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "macro_f1", "roc_auc", "pr_auc"])
def it_tells_no_difference_between_twins(metric: str) -> None:
    one = answers(TRUTH, 0.8, 1)
    mine, other = measure_part("test", TRUTH, np.arange(400), {"a": one, "b": one})
    found = {each.metric: each for each in compare(mine, [other])}[metric]
    assert found.difference.value == 0.0
    assert found.p_holm == 1.0
    assert found.real is False
    assert "have the same" in who_won("a", [found], metric, 400)


@pytest.mark.parametrize("truth", [np.ones(30, dtype=np.int64), np.array([0, 1, 1])])
def it_gives_reasons_where_too_little_is_there(truth: np.ndarray) -> None:
    mine, other = measured(truth, cnn=1.0, svm=0.0)
    for found in compare(mine, [other]):
        numbers = [found.difference.value, found.difference.low, found.difference.high, found.p_holm]
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert found.real is not True or len(truth) == 30
        assert found.difference.p is not None or found.difference.reason, found
    assert "real at" not in sentence([mine, other])
    assert who_won("cnn", [], "accuracy", 3).endswith("there is no other config to compare it with.")


def it_tells_constant_scores_from_an_order() -> None:
    flat = answered(package_info(), np.full((400, 2), 0.5))
    mine, other = measure_part("test", TRUTH, np.arange(400), {"cnn": answers(TRUTH, 0.9, 0), "flat": flat})
    found = {one.metric: one for one in compare(mine, [other])}
    assert other.metrics["roc_auc"] == 0.5
    assert found["roc_auc"].real
    assert found["roc_auc"].difference.method == "DeLong"
    assert found["accuracy"].difference.method == "McNemar, exact"


def it_corrects_for_the_number_of_rivals() -> None:
    mine, *rivals = measured(TRUTH, cnn=0.9, a=0.86, b=0.85, c=0.84)
    for metric in ("accuracy", "roc_auc"):
        row = [one for one in compare(mine, rivals) if one.metric == metric]
        assert [one.p_holm for one in row] == holm([one.difference.p for one in row])


def it_compares_many_classes() -> None:
    truth = np.arange(300) % 3
    told = {"cnn": answers(truth, 0.95, 0, 3), "svm": answers(truth, 0.6, 1, 3)}
    mine, other = measure_part("test", truth, np.arange(300), told)
    assert all(one.real for one in compare(mine, [other]))
    assert mine.intervals["roc_auc"]


def it_finds_what_nothing_beats_in_quality_and_speed() -> None:
    good, middling, poor = measured(TRUTH, good=0.95, middling=0.8, poor=0.6)
    entries = [entry(poor, 900.0), entry(good, 50.0), entry(middling, 400.0)]
    assert pareto_front(entries, "accuracy") == ["poor", "middling", "good"]
    assert pareto_front([*entries[:2], entry(middling, 20.0)], "accuracy") == ["poor", "good"]
    assert [one.config for one in best_first(entries, "accuracy")] == ["good", "middling", "poor"]


def it_measures_slices_and_says_which_were_too_small() -> None:
    (found,) = measured(TRUTH, cnn=0.9)
    kinds = {"mode": ["L"] * 400, "size": ["small"] * 360 + ["large"] * 40, "source": ["a"] * 390 + ["b"] * 10}
    told = slices_on(found, kinds, 30)
    assert {(one.kind, one.value, one.images) for one in told.found} == {
        ("size", "small", 360),
        ("size", "large", 40),
        ("source", "a", 390),
    }
    assert told.notes == (
        "mode: all images are alike (L).",
        "source: 1 of 2 have fewer than 30 images (10 in all).",
    )
    assert [one.accuracy for one in told.found] == sorted(one.accuracy for one in told.found)
    for one in told.found:
        assert one.low < one.accuracy < one.high


def it_is_never_certain_of_a_slice() -> None:
    right = np.ones(50, dtype=bool)
    alone, grouped = share_interval(right, np.arange(50)), share_interval(right, np.arange(50) // 10)
    assert alone[0] > 0.9
    assert grouped[0] < 0.6
    assert share_interval(~right, np.arange(50) // 10)[1] > 0.4
    assert group_sizes(["a", "b", "b", *"ccccc"]) == ["1 image"] + ["2 to 4 images"] * 2 + ["5 images and more"] * 5


def it_shows_the_most_confident_mistakes_first() -> None:
    one = answers(TRUTH, 0.7, 3)
    pixels = np.random.default_rng(0).integers(0, 255, (400, 16, 16, 1), dtype=np.uint8)
    ids = [f"{k:064x}" for k in range(400)]
    examples = Examples(
        content_ids=ids,
        pixels=pixels,
        truth=TRUTH,
        weight=np.ones(400),
        copies=np.ones(400, dtype=np.int64),
        group=ids,
        classes=("BRIGHT", "DARK"),
    )
    found = worst_mistakes(one, examples, [f"test/{k}.png" for k in range(400)], most=5)
    wrong = np.flatnonzero(one.labels != TRUTH)
    assert [mistake.score for mistake in found] == sorted(one.scores[wrong], reverse=True)[:5]
    assert all(mistake.truth != mistake.said for mistake in found)
    assert found[0].path.removeprefix("test/") in found[0].caption
    shown = np.asarray(Image.open(io.BytesIO(found[0].picture)))
    assert (shown == pixels[ids.index(found[0].content_id), :, :, 0]).all()
    large = Image.open(io.BytesIO(thumbnail(np.zeros((300, 600, 3), dtype=np.uint8))))
    assert (large.format, large.size) == ("JPEG", (128, 64))
