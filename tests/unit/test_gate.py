"""The gate: each rule lets pass what it should and stops what it should, and doubt means no."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import pytest

from darkroom import gate
from darkroom.gate import GatePolicy, Scores, Verdict

pytestmark = pytest.mark.unit


def scores(
    recall_a: float, recall_b: float, *, count: int = 400, name: str = "model", seed: int = 0, **changes: Any
) -> Scores:
    """A model with exactly these recalls on ``count`` images, half of class a and half of b."""
    rng = np.random.default_rng(seed)
    truth = ["a", "b"] * (count // 2)
    predicted = list(truth)
    for label, recall in (("a", recall_a), ("b", recall_b)):
        own = [k for k, said in enumerate(truth) if said == label]
        for k in rng.permutation(own)[: round(len(own) * (1 - recall))]:
            predicted[k] = "b" if label == "a" else "a"
    ids = [f"image{k}" for k in range(count)]
    return dataclasses.replace(Scores(name, ids, truth, predicted, [0.9] * count), **changes)


def decide(
    challenger: Scores,
    champion: Scores | None,
    policy: GatePolicy | None = None,
    classes: tuple[str, ...] = ("a", "b"),
) -> Verdict:
    return gate.decide(challenger, champion, classes, policy)


def it_promotes_a_first_model_that_is_above_chance() -> None:
    verdict = decide(scores(0.9, 0.9), None)
    assert verdict.promote
    assert verdict.word == "promote"
    assert verdict.figures["balanced_accuracy"] == pytest.approx(0.9)
    assert verdict.figures["interval"][0] > 0.5
    assert any("no champion yet" in reason for reason in verdict.reasons)


def it_refuses_a_first_model_that_may_be_guessing() -> None:
    verdict = decide(scores(0.53, 0.52), None)
    assert not verdict.promote
    assert "not surely above chance" in verdict.reasons[0]


def it_refuses_one_that_neglects_a_class() -> None:
    verdict = decide(scores(0.45, 1.0), None)
    assert not verdict.promote
    assert verdict.reasons == ("Recall of a is 0.450, below the floor of 0.500.",)


def it_promotes_a_better_model_over_the_champion() -> None:
    verdict = decide(scores(0.95, 0.95), scores(0.85, 0.85, name="champion", seed=1))
    assert verdict.promote
    assert verdict.figures["difference"] == pytest.approx(0.1)
    assert verdict.figures["difference_interval"][0] > 0


def it_promotes_an_equal_model_that_makes_the_same_mistakes() -> None:
    assert decide(scores(0.9, 0.9), scores(0.9, 0.9, name="champion")).promote


def it_refuses_a_worse_model() -> None:
    verdict = decide(scores(0.8, 0.8), scores(0.95, 0.95, name="champion", seed=1))
    assert not verdict.promote
    assert "is not excluded" in verdict.reasons[0]


def it_refuses_an_equal_model_when_few_images_cannot_exclude_a_loss() -> None:
    mine, rival = scores(0.85, 0.85, count=60), scores(0.85, 0.85, count=60, name="champion", seed=5)
    assert not decide(mine, rival).promote


def it_uses_the_margin() -> None:
    mine, rival = scores(0.90, 0.90), scores(0.91, 0.91, name="champion", seed=0)
    assert not decide(mine, rival).promote
    assert decide(mine, rival, GatePolicy(margin=0.2)).promote


def it_compares_on_the_same_images_in_any_order() -> None:
    rival = scores(0.85, 0.85, name="champion", seed=1)
    order = np.random.default_rng(0).permutation(len(rival.content_ids)).tolist()
    columns = {
        name: [getattr(rival, name)[k] for k in order] for name in ("content_ids", "truth", "predicted", "score")
    }
    shuffled = dataclasses.replace(rival, **columns)
    assert decide(scores(0.95, 0.95), shuffled) == decide(scores(0.95, 0.95), rival)


@pytest.mark.parametrize("side", ["challenger", "champion"])
def it_leaves_out_what_either_was_trained_on(side: str) -> None:
    ids = frozenset(f"image{k}" for k in range(100))
    mine = scores(0.9, 0.9, trained_on=ids if side == "challenger" else frozenset())
    rival = scores(0.8, 0.8, name="champion", seed=1, trained_on=ids if side == "champion" else frozenset())
    verdict = decide(mine, rival)
    assert verdict.figures["images"] == 300
    assert verdict.figures["left_out_as_trained_on"] == 100


def broken(**changes: Any) -> Scores:
    return dataclasses.replace(scores(0.9, 0.9), **changes)


@pytest.mark.parametrize(
    ("challenger", "champion", "told"),
    [
        (scores(0.9, 0.9, count=30), None, "Only 30 images"),
        (scores(1.0, 1.0), scores(0.5, 0.5, trained_on=frozenset(f"image{k}" for k in range(399))), "Only 1 images"),
        (broken(score=[math.nan, *[0.9] * 399]), None, "no finite probability"),
        (broken(score=[0.9] * 399), None, "different lengths"),
        (broken(predicted=[None, *["a"] * 399]), None, "lacks 1 labels"),
        (broken(content_ids=["same"] * 400), None, "more than once"),
        (scores(0.9, 0.9), scores(0.9, 0.9, count=398), "not the same ones"),
        (scores(0.9, 0.9), broken(content_ids=[f"other{k}" for k in range(400)]), "not the same ones"),
        (scores(0.9, 0.9), Scores.unavailable("The champion", "its package is gone."), "its package is gone"),
        (Scores.unavailable("The challenger", "no prediction."), None, "no prediction"),
        (scores(0.9, 0.9, truth=["a"] * 400, predicted=["a"] * 400), None, "Only 0 images of b"),
        (Scores("empty", [], [], [], []), None, "Only 0 images"),
    ],
)
def it_fails_closed(challenger: Scores, champion: Scores | None, told: str) -> None:
    verdict = decide(challenger, champion)
    assert not verdict.promote
    assert any(told in reason for reason in verdict.reasons), verdict.reasons


def it_counts_a_class_that_the_champion_does_not_know_as_its_miss() -> None:
    rival = scores(0.99, 0.99, name="champion")
    renamed = dataclasses.replace(rival, predicted=["old name" if p == "b" else p for p in rival.predicted])
    verdict = decide(scores(0.9, 0.9, seed=3), renamed)
    assert verdict.promote
    assert verdict.figures["champion_balanced_accuracy"] == pytest.approx(0.495)


def it_needs_enough_images_of_each_class() -> None:
    truth = ["a"] * 395 + ["b"] * 5
    few = broken(truth=truth, predicted=truth)
    verdict = decide(few, None)
    assert not verdict.promote
    assert any("Only 5 images of b" in reason for reason in verdict.reasons)


def it_refuses_where_a_class_of_the_model_is_missing_from_the_test_images() -> None:
    mine = scores(0.9, 0.9)
    assert decide(mine, None).promote
    verdict = decide(mine, None, classes=("a", "b", "rare"))
    assert not verdict.promote
    assert verdict.reasons == ("Only 0 images of rare; at least 10 are needed.",)


def it_needs_two_classes() -> None:
    one = scores(0.9, 0.9, truth=["a"] * 400, predicted=["a"] * 400)
    assert decide(one, None, classes=("a",)).reasons == ("Only 1 class occurs; at least two are needed.",)


def it_is_less_sure_of_grouped_images() -> None:
    groups = [f"patient{k // 40}" for k in range(400)]
    alone = decide(scores(0.9, 0.9), None).figures["interval"]
    mine = scores(0.9, 0.9)
    worst_first = sorted(range(400), key=lambda k: mine.predicted[k] == mine.truth[k])
    columns = {n: [getattr(mine, n)[k] for k in worst_first] for n in ("content_ids", "truth", "predicted", "score")}
    grouped = decide(dataclasses.replace(mine, groups=groups, **columns), None).figures["interval"]
    assert grouped[1] - grouped[0] > 1.5 * (alone[1] - alone[0])


def it_decides_on_ten_thousand_images_in_two_seconds() -> None:
    groups = [f"patient{k // 3}" for k in range(10_000)]
    mine = scores(0.9, 0.9, count=10_000, groups=groups)
    rival = scores(0.88, 0.9, count=10_000, name="champion", seed=1, groups=groups)
    began = time.process_time()
    assert decide(mine, rival).promote
    assert time.process_time() - began < 2
